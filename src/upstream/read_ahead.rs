//! A stream that reads ahead of TLS where much comes.
//!
//! rustls reads 4 KiB at a time, four system calls for a full record and more for the next. Here a read that was filled to the brim is followed by
//! one of [`AHEAD_BYTES`], until nothing more is there. That takes memory while it lasts, so a few connections at a time may: a single download
//! is fast, and thousands at once stay small.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::delegate::write_through_stream;

/// Reads ahead, and writes as `S` does.
#[derive(Debug)]
pub struct ReadAhead<S> {
    stream: S,
    ahead: Option<Ahead>,
}

#[derive(Debug)]
struct Ahead {
    buffer: Box<[u8]>,
    filled: Range<usize>,
    _place: Place,
}

/// So many may read ahead at a time.
#[derive(Debug)]
struct Places {
    taken: AtomicUsize,
    most: usize,
}

/// One of them, given back when dropped.
#[derive(Debug)]
struct Place(&'static Places);

// === impl ReadAhead ===

impl<S> ReadAhead<S> {
    /// Reads and writes through `stream`.
    pub fn new(stream: S) -> Self {
        Self { stream, ahead: None }
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, ahead } = &mut *self;
        let Some(Ahead { buffer, filled, .. }) = ahead else {
            let room = buf.remaining();
            ready!(Pin::new(stream).poll_read(cx, buf))?;
            if buf.remaining() == 0 && room >= BRIM_BYTES {
                *ahead = PLACES.take().map(Ahead::new);
            }
            return Poll::Ready(Ok(()));
        };
        if filled.start == filled.end {
            let mut into = ReadBuf::new(buffer);
            let read = Pin::new(stream).poll_read(cx, &mut into);
            *filled = 0..into.filled().len();
            if filled.end == 0 {
                *ahead = None;
                return read;
            }
        }
        let data = &buffer[filled.clone()];
        let count = data.len().min(buf.remaining());
        buf.put_slice(&data[..count]);
        filled.start += count;
        Poll::Ready(Ok(()))
    }
}

write_through_stream!(ReadAhead<S>);

// === impl Ahead ===

impl Ahead {
    fn new(place: Place) -> Self {
        Self { buffer: vec![0; AHEAD_BYTES].into(), filled: 0..0, _place: place }
    }
}

// === impl Places ===

impl Places {
    fn take(&'static self) -> Option<Place> {
        let one_more = |taken: usize| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok().map(|_| Place(self))
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is read at once where much comes: four full records.
const AHEAD_BYTES: usize = 64 * 1024;

/// A read that fills as much is followed by larger ones: what rustls asks for at least.
const BRIM_BYTES: usize = 4 * 1024;

/// Those of the process, as its memory is: 4 MiB together.
static PLACES: Places = Places { taken: AtomicUsize::new(0), most: 64 };

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    use super::*;

    /// Gives what it has, in parts of these sizes, and notes how much room each read had.
    #[derive(Debug)]
    struct Source {
        left: VecDeque<Vec<u8>>,
        room: Vec<usize>,
    }

    impl AsyncRead for Source {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            self.room.push(buf.remaining());
            if let Some(mut part) = self.left.pop_front() {
                let rest = part.split_off(part.len().min(buf.remaining()));
                buf.put_slice(&part);
                if !rest.is_empty() {
                    self.left.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    async fn read_all(mut stream: ReadAhead<Source>, sizes: &[usize]) -> (Vec<u8>, Vec<usize>) {
        let mut all = Vec::new();
        for size in sizes.iter().cycle() {
            let mut part = vec![0; *size];
            let count = stream.read(&mut part).await.unwrap();
            if count == 0 {
                break;
            }
            all.extend_from_slice(&part[..count]);
        }
        (all, stream.stream.room)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn bytes_come_through_in_order_however_they_come_and_are_asked_for(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20_000), 0..10),
            sizes in prop::collection::vec(50_usize..20_000, 1..5),
        ) {
            let source = Source { left: parts.clone().into(), room: vec![] };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (all, _) = runtime.block_on(read_all(ReadAhead::new(source), &sizes));
            prop_assert!(all == parts.concat());
        }
    }

    #[tokio::test]
    async fn a_read_filled_to_the_brim_is_followed_by_larger_ones_until_nothing_is_there() {
        let source = Source { left: [vec![1; 100], vec![2; 200_000]].into(), room: vec![] };
        let (all, room) = read_all(ReadAhead::new(source), &[BRIM_BYTES]).await;
        assert_eq!(all.len(), 200_100);
        assert_eq!(room, [BRIM_BYTES, BRIM_BYTES, AHEAD_BYTES, AHEAD_BYTES, AHEAD_BYTES, AHEAD_BYTES]);
    }

    #[test]
    fn so_many_read_ahead_and_the_next_when_one_has_ended() {
        static TWO: Places = Places { taken: AtomicUsize::new(0), most: 2 };
        let (first, _second) = (TWO.take(), TWO.take());
        assert!(first.is_some() && TWO.take().is_none());
        drop(first);
        assert!(TWO.take().is_some());
    }
}
