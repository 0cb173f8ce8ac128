//! In which order those who wait at the gate pass it.
//!
//! Three lanes: reads before writes before bulk writes, but a lane that was passed over its patience's number of times goes next, so none stands still. In a
//! lane every client that waits has one turn before any has its second; among those with the same number of turns, and among one client's own requests,
//! the oldest goes first. A client with a thousand requests therefore delays one with a single request by one turn, not by a thousand.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::scope::Scope;
use crate::batch::operation::{Idempotency, Kind};
use crate::retry::subject::Subject;

/// What the gate knows of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Its place in the order of arrival, unique, kept for its replays.
    pub order: u64,
    /// What it is.
    pub lane: Lane,
    /// Whose it is: whatever should have turns of its own.
    pub client: u64,
    /// What it is throttled by besides the account.
    pub scope: Option<Scope>,
}

/// What a request is to the gate, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Changes nothing; often somebody or something waits for it.
    Read,
    /// Changes one thing.
    Write,
    /// Makes up to a hundred tasks.
    Bulk,
}

/// All who wait for the account.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: [LaneQueue; 3],
    len: usize,
}

/// Those of one lane.
#[derive(Debug, Default)]
struct LaneQueue {
    clients: HashMap<u64, Client>,
    /// Clients that have somebody waiting: turns taken, the order of their oldest, their number.
    line: BTreeSet<(u64, u64, u64)>,
    /// The turn of the last one to pass. Whoever comes now begins here: absence earns nothing.
    turn: u64,
    /// How many of lower lanes and higher lanes have passed while this one waited.
    passed_over: u32,
}

/// A client and its waiting requests in the order of arrival.
#[derive(Debug, Default)]
struct Client {
    turn: u64,
    /// The youngest that has passed.
    passed: Option<u64>,
    waiting: BTreeMap<u64, Ticket>,
}

// === impl Lane ===

impl Lane {
    /// The lane for such a request.
    pub fn of(subject: &Subject) -> Self {
        match (subject.operation().map(|operation| operation.kind), subject.idempotency()) {
            (_, Idempotency::Safe) => Self::Read,
            (Some(Kind::CreateCollection), _) => Self::Bulk,
            _ => Self::Write,
        }
    }
}

// === impl Queue ===

impl Queue {
    pub(super) fn push(&mut self, ticket: Ticket) {
        // A ticket that waits already is one and stays one.
        self.len += usize::from(self.lanes[ticket.lane as usize].push(ticket));
    }

    /// The next one in order.
    pub(super) fn pop(&mut self) -> Option<Ticket> {
        let waiting = |lane: &LaneQueue| !lane.line.is_empty();
        let mut lanes = self.lanes.iter().zip(PATIENCE);
        let overdue = lanes.position(|(lane, patience)| waiting(lane) && lane.passed_over >= patience);
        let chosen = overdue.or_else(|| self.lanes.iter().position(waiting))?;
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if index == chosen || lane.line.is_empty() {
                lane.passed_over = 0;
            } else {
                lane.passed_over += 1;
            }
        }
        let ticket = self.lanes[chosen].pop();
        self.len -= usize::from(ticket.is_some());
        ticket
    }

    pub(super) fn remove(&mut self, ticket: &Ticket) -> bool {
        let removed = self.lanes[ticket.lane as usize].remove(ticket);
        self.len -= usize::from(removed);
        removed
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

// === impl LaneQueue ===

impl LaneQueue {
    fn push(&mut self, ticket: Ticket) -> bool {
        let client = self.clients.entry(ticket.client).or_default();
        self.line.remove(&client.place(ticket.client));
        // A replay has its turn back: the service refused it, the client gained nothing.
        client.turn -= u64::from(client.passed.is_some_and(|passed| ticket.order <= passed)).min(client.turn);
        client.turn = client.turn.max(self.turn);
        let is_new = client.waiting.insert(ticket.order, ticket).is_none();
        self.line.insert(client.place(ticket.client));
        is_new
    }

    fn pop(&mut self) -> Option<Ticket> {
        let (turn, _, number) = self.line.pop_first()?;
        let client = self.clients.get_mut(&number)?;
        let (_, ticket) = client.waiting.pop_first()?;
        client.turn += 1;
        client.passed = client.passed.max(Some(ticket.order));
        if !client.waiting.is_empty() {
            self.line.insert(client.place(number));
        }
        if turn > self.turn {
            self.turn = turn;
            self.forget();
        }
        Some(ticket)
    }

    fn remove(&mut self, ticket: &Ticket) -> bool {
        let Some(client) = self.clients.get_mut(&ticket.client) else { return false };
        let place = client.place(ticket.client);
        if client.waiting.remove(&ticket.order).is_none() {
            return false;
        }
        self.line.remove(&place);
        if client.waiting.is_empty() {
            self.forget();
        } else {
            self.line.insert(client.place(ticket.client));
        }
        true
    }

    /// Drops the clients that would begin at the present turn anyway.
    fn forget(&mut self) {
        let turn = self.turn;
        self.clients.retain(|_, client| !client.waiting.is_empty() || client.turn > turn);
    }
}

// === impl Client ===

impl Client {
    /// Its place in the line, while somebody of it waits.
    fn place(&self, number: u64) -> (u64, u64, u64) {
        let oldest = self.waiting.first_key_value().map_or(u64::MAX, |(order, _)| *order);
        (self.turn, oldest, number)
    }
}

/// How often other lanes may pass each lane before its turn has come. A write is as urgent as the read that polls for its effect, and reads that
/// poll never end: writes may have every third place. Bulk writes may have every fifth, which still moves twenty times their share of requests.
const PATIENCE: [u32; 3] = [u32::MAX, 2, 4];
