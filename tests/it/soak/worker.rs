//! A worker: draws, asks, compares, and keeps a journal for the day something is wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use batch_retry_proxy::simulator::Ledger;

use super::audit;
use super::call::{Answer, Caller};
use super::ground::Ground;
use super::judge::{Creates, Terms, Told, check_list};
use super::plan::{Ask, Planner, Want, root};

/// How much a worker does.
#[derive(Clone)]
pub(super) enum Share {
    Operations(usize),
    /// As long as this is so.
    While(Arc<AtomicBool>),
}

/// One client, with resources that nobody else touches.
pub(super) struct Worker {
    planner: Planner,
    caller: Caller,
    ground: Arc<Ground>,
    terms: Terms,
    operations: usize,
    unknown: usize,
    unverified: usize,
    /// What was asked and answered, by resource at the top.
    journal: BTreeMap<String, Vec<String>>,
    /// What was wrong with an answer: the worker asks no more after that.
    wrong: Option<Finding>,
}

/// Something that is not as it must be.
#[derive(Debug)]
pub(super) struct Finding {
    /// The resource's path.
    pub(super) path: String,
    pub(super) message: String,
    /// All that was asked of the resource at the top of the path.
    pub(super) journal: Vec<String>,
}

// === impl Worker ===

impl Worker {
    pub(super) fn new(number: usize, seed: u64, caller: Caller, ground: Arc<Ground>, creates: Creates) -> Self {
        let terms = Terms { creates, credential: caller.credential };
        let planner = Planner::new(seed, number);
        let (journal, wrong) = (BTreeMap::new(), None);
        Self { planner, caller, ground, terms, operations: 0, unknown: 0, unverified: 0, journal, wrong }
    }

    /// Works, and at the end reads everything it has.
    pub(super) async fn run(mut self, share: Share) -> Self {
        let goes_on = |done: usize| match &share {
            Share::Operations(count) => done < *count,
            Share::While(goes_on) => goes_on.load(Ordering::Relaxed),
        };
        let ground = self.ground.clone();
        while goes_on(self.operations) && self.wrong.is_none() {
            let _awake = match ground.try_awake() {
                Some(awake) => awake,
                None => {
                    self.caller.hang_up();
                    ground.awake().await
                }
            };
            let id = self.caller.next_id();
            let ask = self.planner.next(&id);
            self.operations += 1;
            self.make(ask, &id).await;
        }
        for ask in self.planner.closing() {
            if self.wrong.is_some() {
                break;
            }
            let id = self.caller.next_id();
            self.make(ask, &id).await;
        }
        self
    }

    /// Calls drawn and made.
    pub(super) fn operations(&self) -> usize {
        self.operations
    }

    /// Calls of which nobody can tell whether they were carried out.
    pub(super) fn unknown(&self) -> usize {
        self.unknown
    }

    /// Creates of which the proxy could have found out that they were its own, had its question been answered.
    pub(super) fn unverified(&self) -> usize {
        self.unverified
    }

    /// What is wrong, now that all is over.
    pub(super) fn findings(&self, ledger: &Ledger) -> Vec<Finding> {
        // What came after a wrong answer was never asked: the ledger would say nothing more.
        if let Some(Finding { path, message, journal }) = &self.wrong {
            let (path, message, journal) = (path.clone(), message.clone(), journal.clone());
            return vec![Finding { path, message, journal }];
        }
        let differences = audit::worker(ledger, &self.planner);
        differences.into_iter().map(|(path, message)| self.finding(&path, message)).collect()
    }

    /// Asks, and holds the answer against what must be true.
    async fn make(&mut self, mut ask: Ask, id: &str) {
        if let Some(path) = ask.etag_of.take() {
            let read =
                Ask { verb: "GET", target: path, body: None, if_match: None, etag_of: None, success: 200, want: Want::Done };
            let first = format!("{id}-etag");
            let answer = self.ask(&read, &first).await;
            ask.if_match = answer.and_then(|answer| answer.response.header("etag").map(str::to_owned));
        }
        if self.wrong.is_some() {
            return;
        }
        let Some(answer) = self.ask(&ask, id).await else { return };
        if let Want::Lists { prefix, ids, others } = &ask.want {
            let listed = self.list(&answer, id).await;
            if let Err(message) = check_list(&listed, prefix, ids, *others)
                && self.wrong.is_none()
            {
                self.wrong = Some(self.finding(&ask.root(), message));
            }
        }
    }

    /// The ids of a list, on the page that is there and those that follow.
    async fn list(&mut self, first: &Answer, id: &str) -> Vec<String> {
        let (mut listed, mut next) = (Vec::new(), Some(first.body.clone()));
        while let Some(page) = next.take() {
            let ids = page["value"].as_array().into_iter().flatten().filter_map(|item| item["id"].as_str());
            listed.extend(ids.map(str::to_owned));
            let Some(link) = page["odata.nextLink"].as_str() else { break };
            let target = self.caller.target_of(link);
            let ask = Ask { verb: "GET", target, body: None, if_match: None, etag_of: None, success: 200, want: Want::Done };
            next = self.ask(&ask, &format!("{id}-{}", listed.len())).await.map(|answer| answer.body);
        }
        listed
    }

    /// One call, with its line in the journal. None where the answer is wrong.
    async fn ask(&mut self, ask: &Ask, id: &str) -> Option<Answer> {
        let answered = self.caller.call(ask, id).await;
        let body = ask.body.as_ref().map(|body| format!(" {body}")).unwrap_or_default();
        let told = answered.as_ref().map_or_else(String::clone, Answer::told);
        let line = format!("{id} {} {}{body} => {told}", ask.verb, ask.target);
        self.journal.entry(ask.root()).or_default().push(line.clone());
        let answer = match answered {
            Ok(answer) => answer,
            Err(message) => {
                self.wrong = Some(self.finding(&ask.root(), format!("{message}: {line}")));
                return None;
            }
        };
        match self.terms.judge(ask, &answer) {
            Ok(Told::Known) => {}
            Ok(Told::Unknown) => self.unknown += 1,
            Ok(Told::Unverified) => self.unverified += 1,
            Err(message) => {
                let message = format!("{message}: {line}: {}", answer.response.text());
                self.wrong = Some(self.finding(&ask.root(), message));
                return None;
            }
        }
        Some(answer)
    }

    fn finding(&self, path: &str, message: String) -> Finding {
        let journal = self.journal.get(&root(path)).cloned().unwrap_or_default();
        Finding { path: path.to_owned(), message, journal }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        let skipped = self.journal.len().saturating_sub(SHOWN);
        self.journal.iter().skip(skipped).try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// The end of a long journal is what matters.
const SHOWN: usize = 60;
