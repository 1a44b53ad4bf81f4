//! Reading a snapshot: the list of its blocks page by page, and the blocks, many at once.

use std::sync::Arc;

use ami_pool::{Buffer, Buffers};

use crate::background::{Crowd, in_background};
use crate::block::Digest;
use crate::ebs::{Ebs, From};
use crate::error::Error;
use crate::gate::Gate;
use crate::progress::Progress;

/// The most pages without blocks, one after the other: EBS may send some.
const MOST_EMPTY_PAGES: u32 = 100;

/// How often a block's token is asked for anew.
const MOST_TOKENS: u32 = 3;

/// EBS's reasons for refusing a token that is too old.
const OLD_BLOCK_TOKEN: &str = "INVALID_BLOCK_TOKEN";
const OLD_PAGE_TOKEN: &str = "INVALID_PAGE_TOKEN";

/// The list of a snapshot's blocks.
#[derive(Debug)]
pub(crate) struct Listing {
    ebs: Ebs,
    snapshot: String,
    progress: Arc<Progress>,
    /// The first page, which was asked for to know the volume's size.
    first: Option<Vec<(u64, String)>>,
    /// `None`: there are no more pages.
    from: Option<From>,
    /// The first block that may come next.
    next: u64,
    volume_size: u64,
    empty_pages: u32,
}

impl Listing {
    /// Asks for the first page of the blocks from `index` on.
    pub(crate) async fn begin(
        ebs: &Ebs,
        snapshot: &str,
        index: u64,
        progress: &Arc<Progress>,
    ) -> Result<Self, Error> {
        let mut listing = Self {
            ebs: ebs.clone(),
            snapshot: snapshot.to_owned(),
            progress: progress.clone(),
            first: None,
            from: Some(From::Index(index)),
            next: index,
            volume_size: 0,
            empty_pages: 0,
        };
        listing.first = listing.ask().await?;
        Ok(listing)
    }

    /// The volume's size in GiB.
    pub(crate) fn volume_size(&self) -> u64 {
        self.volume_size
    }

    /// The next blocks, in order, with their tokens; `None` when there are no more.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<(u64, String)>>, Error> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.ask().await,
        }
    }

    async fn ask(&mut self) -> Result<Option<Vec<(u64, String)>>, Error> {
        let Some(from) = self.from.take() else {
            return Ok(None);
        };
        let retries = &self.progress.retries;
        let page = match self.ebs.list_blocks(&self.snapshot, &from, retries).await {
            // It goes on where it stopped.
            Err(error)
                if error.reason() == Some(OLD_PAGE_TOKEN) && matches!(from, From::Token(_)) =>
            {
                let from = From::Index(self.next);
                self.ebs.list_blocks(&self.snapshot, &from, retries).await
            }
            page => page,
        };
        let page = page.map_err(|error| match error.is_not_found() {
            true => Error::Vanished {
                snapshot: self.snapshot.clone(),
            },
            false => error,
        })?;
        let wrong = |reason: &str| Error::Answer {
            operation: format!("ListSnapshotBlocks of {}", self.snapshot),
            reason: reason.to_owned(),
        };
        if ![0, page.volume_size].contains(&self.volume_size) {
            return Err(wrong("the volume has another size than before"));
        }
        self.volume_size = page.volume_size;
        match (page.blocks.first(), page.blocks.last()) {
            (Some((first, _)), Some((last, _))) => {
                if *first < self.next {
                    return Err(wrong("a block comes a second time"));
                }
                (self.next, self.empty_pages) = (last + 1, 0);
            }
            _ => self.empty_pages += 1,
        }
        if self.empty_pages > MOST_EMPTY_PAGES {
            return Err(wrong("the answers have no end"));
        }
        self.from = page.next.map(From::Token);
        Ok(Some(page.blocks))
    }
}

/// What is done with the blocks; called on threads that may wait.
pub(crate) trait Taker: Send + Sync + 'static {
    /// Whether a block that is in the list is to be read.
    ///
    /// # Errors
    /// It should not be in the list.
    fn wants(&self, index: u64) -> Result<bool, Error>;

    /// Takes a block with its digest.
    ///
    /// # Errors
    /// It is not what it should be, or cannot be kept.
    fn take(&self, index: u64, data: &Buffer, digest: &Digest) -> Result<(), Error>;
}

/// Reads all blocks of the list that are wanted, at most so many at once.
pub(crate) async fn fetch(
    listing: Listing,
    parallel: usize,
    taker: Arc<impl Taker>,
) -> Result<(), Error> {
    let mut listing = listing;
    let fetcher = Arc::new(Fetcher {
        ebs: listing.ebs.clone(),
        snapshot: listing.snapshot.clone(),
        progress: listing.progress.clone(),
        gate: Gate::new(parallel),
        buffers: Buffers::default(),
    });
    let mut crowd = Crowd::new(parallel);
    while let Some(blocks) = crowd.beside(listing.next()).await?? {
        for (index, token) in blocks {
            if !taker.wants(index)? {
                continue;
            }
            crowd.beside(std::future::ready(())).await?;
            let (fetcher, taker) = (fetcher.clone(), taker.clone());
            crowd.add(async move { fetcher.get(index, token, taker).await });
        }
    }
    crowd.finish().await
}

struct Fetcher {
    ebs: Ebs,
    snapshot: String,
    progress: Arc<Progress>,
    gate: Gate,
    buffers: Buffers,
}

impl Fetcher {
    async fn get(
        &self,
        index: u64,
        mut token: String,
        taker: Arc<impl Taker>,
    ) -> Result<(), Error> {
        let mut tokens = 1;
        let (data, digest) = loop {
            let retries = &self.progress.retries;
            let (gate, buffers) = (&self.gate, &self.buffers);
            let got = self
                .ebs
                .get_block(&self.snapshot, index, &token, gate, buffers, retries);
            match got.await {
                Err(error) if error.reason() == Some(OLD_BLOCK_TOKEN) && tokens < MOST_TOKENS => {
                    tokens += 1;
                    token = self.new_token(index).await?;
                }
                got => break got?,
            }
        };
        in_background(move |_| taker.take(index, &data, &digest)).await??;
        let _ = self
            .progress
            .done
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    async fn new_token(&self, index: u64) -> Result<String, Error> {
        let listing = Listing::begin(&self.ebs, &self.snapshot, index, &self.progress);
        let mut listing = Box::pin(listing).await?;
        while let Some(blocks) = listing.next().await? {
            match blocks.into_iter().next() {
                Some((first, token)) if first == index => return Ok(token),
                Some(_) => break,
                None => {}
            }
        }
        Err(Error::Answer {
            operation: format!("ListSnapshotBlocks of {}", self.snapshot),
            reason: format!("block {index} is no longer in the list"),
        })
    }
}
