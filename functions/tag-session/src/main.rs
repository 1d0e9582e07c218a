//! The Lambda function `tag-session`.

use mirrorstep_ec2::Ec2;
use tag_session::TagSession;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), mirrorstep_handler::Error> {
    mirrorstep_handler::serve(|aws, _| {
        Ok(TagSession {
            ec2: Ec2::from_config(aws),
        })
    })
    .await
}
