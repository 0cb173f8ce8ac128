//! A name server for one name, whose answer can be changed and withheld.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Answers every question with the same. Dropped, it is gone.
pub(super) struct NameServer {
    says: watch::Sender<Says>,
    // Held for its drop, which ends the server.
    _task: JoinSet<()>,
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// This address, for as long as it takes to read it.
    Address(Ipv4Addr),
    /// That it cannot tell now (SERVFAIL).
    Failure,
    /// Nothing.
    Nothing,
}

// === impl NameServer ===

impl NameServer {
    pub(super) async fn start(address: SocketAddr, says: Says) -> io::Result<Self> {
        let socket = UdpSocket::bind(address).await?;
        let (says, heard) = watch::channel(says);
        let mut task = JoinSet::new();
        task.spawn(serve(socket, heard));
        Ok(Self { says, _task: task })
    }

    pub(super) fn say(&self, says: Says) {
        self.says.send_replace(says);
    }
}

async fn serve(socket: UdpSocket, says: watch::Receiver<Says>) {
    let mut question = [0; 512];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut question).await else { continue };
        let says = *says.borrow();
        if let Some(answer) = answer(&question[..length], says) {
            drop(socket.send_to(&answer, from).await);
        }
    }
}

/// RFC 1035: the question's header with the flags of an answer, the question itself, and one record where it asks for IPv4.
fn answer(question: &[u8], says: Says) -> Option<Vec<u8>> {
    let name_ends = 12 + question.get(12..)?.iter().position(|byte| *byte == 0)? + 1;
    let asked = question.get(12..name_ends + 4)?;
    let is_ipv4 = question[name_ends..name_ends + 2] == [0, 1];
    let (code, record) = match says {
        Says::Nothing => return None,
        Says::Failure => (2, None),
        Says::Address(address) => (0, Some(address).filter(|_| is_ipv4)),
    };
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(record.is_some()), 0, 0, 0, 0]);
    answer.extend(asked);
    if let Some(address) = record {
        // The name by reference, type A, class IN, no time to live, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
