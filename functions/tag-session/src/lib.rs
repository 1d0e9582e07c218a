//! Stage `tag-session`: tags the session with what a person looks for in the console.
//!
//! These tags are not part of the create call: they tell which execution did it, and a call that another
//! execution repeats must be the same call.

use mirrorstep_core::StageError;
use mirrorstep_core::pipeline::{CreatedSession, Invocation, Stage, TaggedSession};
use mirrorstep_core::reconcile::MANAGED_TAG;
use mirrorstep_ec2::{Ec2, Tags};

/// The longest value of a tag (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions>).
const TAG_VALUE_LENGTH: usize = 256;

/// The stage, with what it needs.
#[derive(Debug)]
pub struct TagSession {
    /// Where the session is.
    pub ec2: Ec2,
}

impl Stage for TagSession {
    const NAME: &'static str = "tag-session";
    type Input = CreatedSession;
    type Output = TaggedSession;

    async fn run(&self, invocation: Invocation<CreatedSession>) -> Result<TaggedSession, StageError> {
        let Invocation {
            execution_arn,
            input:
                CreatedSession {
                    request,
                    session_id,
                    assignment,
                },
        } = invocation;
        let name = request.instance_name.as_deref().filter(|name| !name.is_empty());
        let value = |text: &str| text.chars().take(TAG_VALUE_LENGTH).collect::<String>();
        let tags = Tags::from([
            (MANAGED_TAG.to_owned(), "true".to_owned()),
            (
                "Name".to_owned(),
                value(name.unwrap_or(request.instance_id.as_str())),
            ),
            ("mirrorstep:instance".to_owned(), request.instance_id.to_string()),
            ("mirrorstep:execution".to_owned(), value(&execution_arn)),
        ]);
        self.ec2.tag_session(&session_id, &tags).await?;
        tracing::info!(session = %session_id, "tagged");
        Ok(TaggedSession {
            interface_id: request.interface_id,
            session_id,
            target_id: assignment.target_id,
            tags,
        })
    }
}
