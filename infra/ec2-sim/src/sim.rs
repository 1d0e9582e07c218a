//! The simulator itself: one account in one Region, and the calls made to it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::actions::perform;
use crate::context::Context;
use crate::error::ApiError;
use crate::faults::{Fault, FaultRule, Rules};
use crate::options::{Options, Throttle};
use crate::query::Params;
use crate::snapshot::{self, SnapshotError};
use crate::throttle::Buckets;
use crate::world::{StateChange, World};
use crate::xml;

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The XML, empty when the connection breaks.
    pub body: String,
    /// How long to wait before the answer is given (or the connection breaks).
    pub delay: Duration,
    /// The connection breaks, and the caller gets no answer.
    pub lost: bool,
}

/// How often an action was called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Calls {
    /// Calls that EC2 took up, whether it did what was asked or refused it, and whether the answer arrived.
    pub answered: u64,
    /// Calls turned away with `RequestLimitExceeded`.
    pub throttled: u64,
}

/// A call about to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The action, such as `CreateTrafficMirrorSession`.
    pub action: String,
    /// All parameters as they were sent, by their names in the EC2 query protocol (`Filter.1.Name`).
    pub params: BTreeMap<String, String>,
}

type Hook = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

/// A stand-in for the EC2 API of one account in one Region. Clones share one world.
#[derive(Clone)]
pub struct Ec2Sim {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    began: Instant,
    state: Mutex<State>,
    rules: Mutex<Rules>,
    hook: Mutex<Option<Hook>>,
    changed: Notify,
}

struct State {
    world: World,
    buckets: Buckets,
    calls: BTreeMap<String, Calls>,
}

thread_local! {
    /// Whether this thread is within a hook: the calls that a hook makes are not shown to it.
    static IN_HOOK: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as within a hook, also when the hook panics.
struct InHook;

impl InHook {
    fn enter() -> Self {
        IN_HOOK.set(true);
        Self
    }
}

impl Drop for InHook {
    fn drop(&mut self) {
        IN_HOOK.set(false);
    }
}

impl fmt::Debug for Ec2Sim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Ec2Sim")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

impl Ec2Sim {
    /// An empty world.
    pub fn new(options: Options) -> Self {
        let world = World::new(&options);
        Self {
            shared: Arc::new(Shared {
                options,
                began: Instant::now(),
                state: Mutex::new(State {
                    world,
                    buckets: Buckets::default(),
                    calls: BTreeMap::new(),
                }),
                rules: Mutex::default(),
                hook: Mutex::new(None),
                changed: Notify::new(),
            }),
        }
    }

    /// The account, the Region and the rest that this simulator was made with.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// Adds a snapshot to the world, visible at once whatever the lag; an object that is there already is
    /// replaced. Instances that it holds have not changed state: nothing is told of them.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] names the object that is wrong; then nothing is added.
    pub fn load_snapshot(&self, snapshot: &Value) -> Result<(), SnapshotError> {
        snapshot::load(&mut self.state().world, snapshot, &self.shared.options.account)
    }

    /// The world as it truly is, without lag, in the format of a snapshot.
    pub fn snapshot(&self) -> Value {
        snapshot::take(&self.state().world, |_| true)
    }

    /// The same with only these of its lists.
    pub fn snapshot_of(&self, lists: &[&str]) -> Value {
        snapshot::take(&self.state().world, |list| lists.contains(&list))
    }

    /// Carries out one request of the EC2 query protocol, given as its URL-encoded form.
    ///
    /// What it does is done when this returns; it never waits. A delay, and whether the caller gets the answer at
    /// all, are for the transport to see to.
    pub fn handle(&self, form_body: &[u8]) -> Response {
        let params = Params::parse(form_body);
        let action = params.get("Action").unwrap_or_default().to_owned();
        let fault = self.fault(&action, &params);
        let response = self.respond(&action, &params, fault.as_ref());
        tracing::debug!(action, status = response.status, ?fault, "call");
        response
    }

    fn fault(&self, action: &str, params: &Params) -> Option<Fault> {
        if let Some(fault) = lock(&self.shared.rules).next(action) {
            return Some(fault);
        }
        if IN_HOOK.get() {
            return None;
        }
        let mut hook = lock(&self.shared.hook);
        let hook = hook.as_mut()?;
        let _inside = InHook::enter();
        hook(&Call {
            action: action.to_owned(),
            params: params.all().clone(),
        })
    }

    fn respond(&self, action: &str, params: &Params, fault: Option<&Fault>) -> Response {
        let lost = Response {
            status: 503,
            body: String::new(),
            delay: Duration::ZERO,
            lost: true,
        };
        if fault == Some(&Fault::FailBefore) {
            return lost;
        }
        let now = Instant::now();
        let mut state = self.state();
        let request_id = request_id(&mut state.world.random);
        let refusal = fault.and_then(Fault::refusal).or_else(|| {
            let throttled =
                self.shared.options.throttle == Throttle::Aws && !state.buckets.take(action, params, now);
            throttled.then(ApiError::throttled)
        });
        let throttled = refusal
            .as_ref()
            .is_some_and(|refusal| *refusal == ApiError::throttled());
        let calls = state.calls.entry(action.to_owned()).or_default();
        if throttled {
            calls.throttled += 1;
        } else {
            calls.answered += 1;
        }
        let answer = match refusal {
            Some(refusal) => Err(refusal),
            None => perform(&mut self.context(&mut state.world, now), params),
        };
        if !state.world.changes.is_empty() {
            self.shared.changed.notify_waiters();
        }
        drop(state);
        if fault == Some(&Fault::LoseAnswer) {
            return lost;
        }
        let delay = if let Some(Fault::Slow(delay)) = fault {
            *delay
        } else {
            Duration::ZERO
        };
        let (status, body) = match answer {
            Ok(members) => (200, xml::answer(action, &request_id, &members)),
            Err(error) => (error.status, xml::refusal(&request_id, &error)),
        };
        Response {
            status,
            body,
            delay,
            lost: false,
        }
    }

    fn context<'a>(&'a self, world: &'a mut World, now: Instant) -> Context<'a> {
        let options = &self.shared.options;
        let time = options.start + now.saturating_duration_since(self.shared.began);
        let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
        Context {
            world,
            now,
            horizon: now.checked_sub(options.lag),
            interfaces_horizon: now.checked_sub(options.lag + options.without_interfaces),
            attaching: options.attaching,
            large_account: options.large_account,
            time: time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
            account: &options.account,
            region: &options.region,
        }
    }

    /// How often each action was called since the start, or since they were last reset.
    pub fn calls(&self) -> BTreeMap<String, Calls> {
        self.state().calls.clone()
    }

    /// Begins counting calls anew.
    pub fn reset_calls(&self) {
        self.state().calls.clear();
    }

    /// Calls `hook` before each request is carried out, to say what goes wrong with it. There is one hook: another
    /// one takes its place.
    ///
    /// The hook may use this simulator itself, so as to have something happen just before a call; its own requests
    /// are not shown to it.
    pub fn on_call(&self, hook: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        *lock(&self.shared.hook) = Some(Box::new(hook));
    }

    /// Adds faults for the next calls. They come before what [`Ec2Sim::on_call`] says.
    pub fn add_faults(&self, rules: impl IntoIterator<Item = FaultRule>) {
        lock(&self.shared.rules).add(rules);
    }

    /// Takes the faults back that [`Ec2Sim::add_faults`] added and no call has met.
    pub fn clear_faults(&self) {
        lock(&self.shared.rules).clear();
    }

    /// The instance state changes since they were last taken, in order; `pending` is not among them.
    pub fn take_state_changes(&self) -> Vec<StateChange> {
        std::mem::take(&mut self.state().world.changes)
    }

    /// Waits until there is a state change that was not taken; at once if there is one.
    pub async fn state_changed(&self) {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.state().world.changes.is_empty() {
                return;
            }
            changed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }
}

/// A panic elsewhere does not make the world unusable: at worst one request was carried out in part.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn request_id(random: &mut fastrand::Rng) -> String {
    let digits = format!("{:032x}", random.u128(..));
    format!(
        "{}-{}-{}-{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..]
    )
}
