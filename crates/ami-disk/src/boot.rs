//! How a disk boots: by a BIOS boot loader, by EFI programs.

use crate::bytes::le;
use crate::error::Error;
use crate::mbr;
use crate::read::Window;
use crate::table::{Claim, Layout, Role, Table};

/// The names of boot loaders that their first sector has in it: GRUB Legacy and 2; LILO.
const GRUB: &[u8] = b"GRUB";
const LILO: &[u8] = b"LILO";

const END_MARK: u16 = 0xAA55;

/// How a disk boots. PV-GRUB, which needs neither, does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BootModes {
    /// Its first sector has a boot loader, or one that starts that of a partition.
    pub bios: bool,
    /// An EFI system partition has a program below /EFI.
    pub uefi: bool,
}

/// Whether a BIOS starts something from the disk with these first bytes.
pub(crate) fn is_bios(disk: &Window<'_>, head: &[u8], layout: &Layout) -> Result<bool, Error> {
    let code = head.get(..mbr::CODE).unwrap_or_default();
    if le::u16(head, 510) != END_MARK || is_zero(code) {
        return Ok(false);
    }
    let is_loader = [GRUB, LILO]
        .iter()
        .any(|name| code.windows(name.len()).any(|part| part == *name));
    match layout.table {
        None => return Ok(is_loader),
        Some(Table::Mbr) if is_loader => return Ok(true),
        _ => {}
    }
    // GRUB has the rest of it in a partition of its own. Any other loader starts what is in the active partition.
    for claim in &layout.claims {
        let Some(partition) = &claim.partition else {
            continue;
        };
        let has_rest = partition.role == Role::BiosBoot && !is_zero(&first_sector(disk, claim)?);
        if has_rest {
            return Ok(true);
        }
        if partition.is_active {
            let sector = first_sector(disk, claim)?;
            if le::u16(&sector, 510) == END_MARK && !is_zero(&sector[..mbr::CODE]) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// The first sector of a partition; zeros if it is not on the disk.
fn first_sector(disk: &Window<'_>, claim: &Claim) -> Result<[u8; mbr::RECORD], Error> {
    let mut sector = [0; mbr::RECORD];
    match disk.read_into(claim.offset, &mut sector) {
        Ok(()) => {}
        Err(stop) => {
            let _ = stop.volume()?;
        }
    }
    Ok(sector)
}
