//! What takes mirrored packets at a Network Load Balancer: a listener.

use aws_sdk_elasticloadbalancingv2::types::{Listener, ProtocolEnum};

use super::Examination;
use super::sensors::{MIRROR_PORT, Sensor};
use crate::account::aws::Service;
use crate::error::{Error, Failure};
use terminal::for_shell;

const NO_LISTENER: &str = "its load balancer has no UDP listener on port 4789: nothing is mirrored to it, and EC2 does not \
                           say so";

impl Examination {
    /// Each Network Load Balancer has a listener for UDP on the port of mirrored packets: without one nothing is mirrored
    /// to it, and EC2 does not say so (VPC Traffic Mirroring guide, "Network Load Balancers":
    /// <https://docs.aws.amazon.com/vpc/latest/mirroring/traffic-mirroring-targets.html#traffic-mirroring-targets-nlb>).
    pub(super) async fn listeners(&mut self, sensors: &[Sensor]) -> Result<(), Error> {
        const CHECK: &str = "listener";
        for sensor in sensors {
            let Some(arn) = &sensor.target.network_load_balancer_arn else {
                continue;
            };
            match self.listeners_of(arn).await {
                Ok(listeners) => match listeners.into_iter().find(takes_mirrored_packets) {
                    Some(Listener { protocol, .. }) => {
                        let protocol = protocol.as_ref().map_or("", ProtocolEnum::as_str);
                        self.ok(CHECK, sensor.id(), format!("{protocol} {MIRROR_PORT}"));
                    }
                    None => self.problem(CHECK, sensor.id(), NO_LISTENER, new_listener(arn)),
                },
                // Also what another account owns, and shares the target only.
                Err(Error::Refused {
                    failure: Failure::NotAllowed | Failure::Other,
                    cause,
                    next,
                    ..
                }) => {
                    let words = format!(
                        "whether its load balancer has a UDP listener on port {MIRROR_PORT} cannot be told: {cause}; {next}"
                    );
                    self.note(CHECK, sensor.id(), words);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn listeners_of(&self, arn: &str) -> Result<Vec<Listener>, Error> {
        let listeners = self
            .balancers
            .describe_listeners()
            .load_balancer_arn(arn)
            .into_paginator()
            .items()
            .send();
        let listeners: Result<Vec<_>, _> = listeners.try_collect().await;
        listeners.map_err(
            self.account
                .refusal(&Service::LOAD_BALANCING, "DescribeListeners"),
        )
    }
}

fn new_listener(arn: &str) -> String {
    format!(
        "give it one that leads to the appliances, in place of GROUP the ARN of their target group, of protocol UDP: aws \
         elbv2 create-listener --load-balancer-arn {} --protocol UDP --port {MIRROR_PORT} --default-actions \
         Type=forward,TargetGroupArn=GROUP",
        for_shell(arn)
    )
}

/// A listener for both TCP and UDP takes UDP as one for UDP does (Network Load Balancer guide, "Listeners":
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-listeners.html>). The guide to Traffic
/// Mirroring names only UDP: that either will do is an assumption.
fn takes_mirrored_packets(listener: &Listener) -> bool {
    listener.port() == Some(MIRROR_PORT)
        && matches!(
            listener.protocol(),
            Some(ProtocolEnum::Udp | ProtocolEnum::TcpUdp)
        )
}
