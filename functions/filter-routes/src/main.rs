//! The Lambda function `filter-routes`.

use filter_routes::FilterRoutes;
use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_ec2::Ec2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), mirrorstep_handler::Error> {
    mirrorstep_handler::serve(|aws, environment| {
        Ok(FilterRoutes {
            ec2: Ec2::from_config(aws),
            unverifiable: UnverifiableTargets::from(environment)?,
        })
    })
    .await
}
