use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{mpsc, watch};

use super::*;
use crate::{event_log::EmbeddedLog, settings::EventLogSettings};

/// Counts those who lead at once, over all processes of a test.
#[derive(Clone, Default)]
pub(super) struct Count {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    terms: Arc<watch::Sender<usize>>,
}

impl Count {
    /// The most that led at once.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// How often anybody began to lead.
    pub(super) fn terms(&self) -> usize {
        *self.terms.borrow()
    }

    pub(super) async fn wait_for_term(&self, number: usize) {
        let mut terms = self.terms.subscribe();
        let patience = Duration::from_secs(90);
        tokio::time::timeout(patience, terms.wait_for(|terms| *terms >= number))
            .await
            .expect("leads")
            .expect("is kept");
    }
}

pub(super) struct Counted(pub(super) Count);

#[async_trait]
impl Work for Counted {
    async fn lead(&mut self, stop: &CancellationToken, revoked: &CancellationToken) -> Ended {
        let now = self.0.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most.fetch_max(now, Ordering::SeqCst);
        self.0.terms.send_modify(|terms| *terms += 1);
        tokio::select! {
            () = stop.cancelled() => {}
            () = revoked.cancelled() => {}
        }
        // Stopping takes time, in which nobody else may begin.
        tokio::task::yield_now().await;
        self.0.now.fetch_sub(1, Ordering::SeqCst);
        Ended::Asked
    }
}

pub(super) struct Process {
    stop: CancellationToken,
    is_leader: IntGauge,
    health: Health,
    task: tokio::task::JoinHandle<()>,
}

pub(super) fn start(log: &Arc<dyn EventLog>, work: impl Work) -> Process {
    let (stop, health) = (CancellationToken::new(), Health::default());
    let leader = Leader::new(Arc::clone(log), work, health.clone(), &Registry::new(), stop.clone()).expect("registers");
    let is_leader = leader.leads.clone();
    Process { stop, is_leader, health, task: tokio::spawn(leader.run()) }
}

impl Process {
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("does not panic");
        assert_eq!(self.is_leader.get(), 0);
    }
}

fn embedded(dir: &std::path::Path) -> Arc<dyn EventLog> {
    Arc::new(EmbeddedLog::open(dir, &EventLogSettings::default(), &Registry::new()).expect("opens"))
}

#[tokio::test]
async fn the_process_that_has_the_embedded_log_leads_and_leads_again() {
    let dir = tempfile::tempdir().expect("makes a directory");
    let count = Count::default();
    for term in 1..=3 {
        let log = embedded(dir.path());
        let process = start(&log, Counted(count.clone()));
        count.wait_for_term(term).await;
        assert_eq!((process.is_leader.get(), process.health.snapshot().0), (1, true));
        process.stop().await;
        assert_eq!(count.now.load(Ordering::SeqCst), 0, "stopped means that the work has stopped");
        log.close().await;
    }
    assert_eq!((count.most(), count.terms()), (1, 3));
}

/// Events from a channel, so that a test can give and take the seat.
struct Scripted(mpsc::UnboundedReceiver<Result<LogEvent, EventLogError>>);

#[async_trait]
impl Subscription for Scripted {
    async fn next(&mut self) -> Result<LogEvent, EventLogError> {
        self.0.recv().await.unwrap_or(Err(EventLogError::Closed))
    }

    async fn commit(&mut self, _: &[(Partition, crate::event_log::Offset)]) -> Result<(), EventLogError> {
        Ok(())
    }

    async fn committed(&self) -> Result<Vec<(Partition, crate::event_log::Offset)>, EventLogError> {
        Ok(Vec::new())
    }

    async fn seek_to_time(&mut self, _: crate::domain::UtcMillis) -> Result<(), EventLogError> {
        Ok(())
    }
}

fn follower<W: Work>(work: W) -> (Leader<W>, mpsc::UnboundedSender<Result<LogEvent, EventLogError>>, Scripted) {
    let (sender, events) = mpsc::unbounded_channel();
    let dir = tempfile::tempdir().expect("makes a directory");
    let leader = Leader::new(embedded(dir.path()), work, Health::default(), &Registry::new(), CancellationToken::new());
    (leader.expect("registers"), sender, Scripted(events))
}

#[tokio::test]
async fn the_seat_alone_makes_the_leader_and_its_loss_stops_the_work() {
    let count = Count::default();
    let (mut leader, group, mut events) = follower(Counted(count.clone()));
    let (stop, is_leader) = (leader.stop.clone(), leader.leads.clone());
    let task = tokio::spawn(async move { leader.follow(&mut events).await });
    let send = |event| group.send(Ok(event)).expect("is followed");
    send(LogEvent::Assigned(vec![Partition(1)]));
    send(LogEvent::Assigned(vec![SEAT]));
    count.wait_for_term(1).await;
    send(LogEvent::Revoked(vec![Partition(1)]));
    send(LogEvent::Revoked(vec![SEAT]));
    send(LogEvent::Assigned(vec![SEAT]));
    count.wait_for_term(2).await;
    assert_eq!((count.now.load(Ordering::SeqCst), is_leader.get()), (1, 1));
    stop.cancel();
    assert!(matches!(task.await.expect("does not panic"), Followed::Stopped));
    assert_eq!((count.most(), count.terms(), is_leader.get()), (1, 2, 0));
}

/// Ends each term as the test says.
struct Ending(Mutex<Vec<Ended>>, Count);

#[async_trait]
impl Work for Ending {
    async fn lead(&mut self, stop: &CancellationToken, _: &CancellationToken) -> Ended {
        self.1.terms.send_modify(|terms| *terms += 1);
        let next = self.0.lock().expect("is not poisoned").pop();
        if let Some(ended) = next {
            return ended;
        }
        stop.cancelled().await;
        Ended::Asked
    }
}

#[tokio::test]
async fn work_that_cannot_go_on_is_begun_again_as_long_as_the_seat_is_held() {
    let count = Count::default();
    let again = || Ended::Again("ClickHouse is away".to_owned());
    let (mut leader, group, mut events) = follower(Ending(Mutex::new(vec![again(), again()]), count.clone()));
    let stop = leader.stop.clone();
    let task = tokio::spawn(async move { leader.follow(&mut events).await });
    group.send(Ok(LogEvent::Assigned(vec![SEAT]))).expect("is followed");
    count.wait_for_term(3).await;
    stop.cancel();
    assert!(matches!(task.await.expect("does not panic"), Followed::Stopped));
}

#[tokio::test]
async fn work_that_has_died_ends_the_leader() {
    let (mut leader, group, mut events) = follower(Ending(Mutex::new(vec![Ended::Died]), Count::default()));
    group.send(Ok(LogEvent::Assigned(vec![SEAT]))).expect("is followed");
    assert!(matches!(leader.follow(&mut events).await, Followed::Died));
}

#[tokio::test]
async fn a_group_that_cannot_be_read_for_long_is_joined_again_and_the_work_has_stopped() {
    let count = Count::default();
    let (mut leader, group, mut events) = follower(Counted(count.clone()));
    group.send(Ok(LogEvent::Assigned(vec![SEAT]))).expect("is followed");
    for _ in 0..=2 * MAX_FAILURES {
        let message = "fenced".to_owned();
        group.send(Err(EventLogError::Storage { doing: "reading", message })).expect("is followed");
    }
    drop(group);
    assert!(matches!(leader.follow(&mut events).await, Followed::Failed(_)));
    assert_eq!((count.now.load(Ordering::SeqCst), leader.leads.get()), (0, 0));
}
