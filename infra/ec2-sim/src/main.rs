//! `ec2-sim`: the EC2 stand-in as a server of its own.

use std::error::Error;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use aws_config::BehaviorVersion;
use clap::{Parser, ValueEnum};
use ec2_sim::{Ec2Sim, Options, Throttle, publish, serve};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A stand-in for the EC2 API of one account in one Region, on this machine only.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Port to listen on; 0 takes a free one. The first line on standard output tells the address
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Snapshot to begin with: the AWS CLI's `describe-…` outputs in one JSON object
    #[arg(long, value_name = "FILE")]
    snapshot: Option<PathBuf>,
    /// Whether requests are throttled as AWS documents it
    #[arg(long, value_enum, default_value_t = ThrottleArgument::Off)]
    throttle: ThrottleArgument,
    /// How long a change stays invisible to describes, such as 5s
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    lag: Duration,
    /// The account has very many interfaces: describes without IDs are refused unless they are paginated
    #[arg(long)]
    large_account: bool,
    /// How long an interface is attaching or detaching, such as 5s
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    attaching: Duration,
    /// How much longer than the lag DescribeInstances shows an instance without its interfaces, such as 5s
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    without_interfaces: Duration,
    /// Seed of IDs and addresses
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Account that owns what is created
    #[arg(long, default_value = "000000000000")]
    account: String,
    /// Region that names zones and ARNs
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// EventBridge endpoint to publish instance state changes to
    #[arg(long, value_name = "URL")]
    events_endpoint: Option<String>,
    /// Event bus to publish them to
    #[arg(long, default_value = "default", requires = "events_endpoint")]
    event_bus: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ThrottleArgument {
    Aws,
    Off,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let sim = Ec2Sim::new(Options {
        throttle: match arguments.throttle {
            ThrottleArgument::Aws => Throttle::Aws,
            ThrottleArgument::Off => Throttle::Off,
        },
        lag: arguments.lag,
        seed: arguments.seed,
        account: arguments.account,
        region: arguments.region,
        large_account: arguments.large_account,
        attaching: arguments.attaching,
        without_interfaces: arguments.without_interfaces,
        ..Options::default()
    });
    if let Some(file) = &arguments.snapshot {
        let about = |error: &dyn Error| format!("snapshot {}: {error}", file.display());
        let text = std::fs::read(file).map_err(|error| about(&error))?;
        let snapshot = serde_json::from_slice(&text).map_err(|error| about(&error))?;
        sim.load_snapshot(&snapshot).map_err(|error| about(&error))?;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port))
        .await
        .map_err(|error| format!("port {}: {error}", arguments.port))?;
    writeln!(
        std::io::stdout(),
        "listening on http://{}",
        listener.local_addr()?
    )?;
    std::io::stdout().flush()?;

    let publisher = async {
        if let Some(endpoint) = &arguments.events_endpoint {
            let config = aws_config::defaults(BehaviorVersion::latest())
                .endpoint_url(endpoint)
                .load()
                .await;
            let client = aws_sdk_eventbridge::Client::new(&config);
            publish(&sim, &client, &arguments.event_bus).await;
        } else {
            discard_changes(&sim).await;
        }
    };
    let shutdown = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::select! {
        served = serve(sim.clone(), listener, shutdown) => served?,
        () = publisher => {}
    }
    Ok(())
}

/// Nobody listens: state changes must not pile up.
async fn discard_changes(sim: &Ec2Sim) {
    loop {
        sim.state_changed().await;
        sim.take_state_changes();
    }
}
