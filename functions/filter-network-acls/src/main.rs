//! The Lambda function `filter-network-acls`.

use filter_network_acls::FilterNetworkAcls;
use mirrorstep_core::config::UnverifiableTargets;
use mirrorstep_ec2::Ec2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), mirrorstep_handler::Error> {
    mirrorstep_handler::serve(|aws, environment| {
        Ok(FilterNetworkAcls {
            ec2: Ec2::from_config(aws),
            unverifiable: UnverifiableTargets::from(environment)?,
        })
    })
    .await
}
