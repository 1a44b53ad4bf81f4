//! Measures the commands and their alternatives in one run, and writes docs/benchmarks.md with a plot.
//!
//! Usage: `ami-bench [IMAGE HUGE MANY]`; without arguments, it uses the data that scripts/bench-image makes. `ami-bench --only PART` measures
//! only `transfers`, `snapshots` or `rescue`, and writes nothing.

mod buckets;
mod disk;
mod double;
mod figure;
mod measure;
mod pipelines;
mod plot;
mod report;
mod rescue;
mod snapshot_report;
mod snapshots;
mod transfers;
mod volumes;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::figure::table;
use crate::measure::{Measured, best_of, shell};
use crate::pipelines::Workshop;
use crate::report::{Data, Report};
use crate::rescue::Rescue;
use crate::snapshots::Snapshots;
use crate::transfers::Transfers;
use crate::volumes::Volume;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ami-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [image, huge, many] = match &arguments[..] {
        [only, part] if only == Path::new("--only") && part == Path::new("snapshots") => {
            let snapshots = Snapshots::measure(&cache()?)?;
            println!("{}\n{}", table(&snapshots.figures()), snapshots.details());
            return Ok(());
        }
        [only, part] if only == Path::new("--only") && part == Path::new("rescue") => {
            let _ = standard_images()?;
            println!("{}", table(&Rescue::measure(&cache()?)?.figures()));
            return Ok(());
        }
        [only, part] if only == Path::new("--only") && part == Path::new("transfers") => {
            let Transfers {
                up_one,
                up,
                up_aws,
                down_one,
                down,
                down_aws,
                bundling,
                straight,
            } = Transfers::measure(&cache()?)?;
            println!(
                "up   {up_one:?}\n     {up:?}\n aws {up_aws:?}\ndown {down_one:?}\n     {down:?}\n aws {down_aws:?}\n\
                 bundling {bundling:?}\nstraight {straight:?}"
            );
            return Ok(());
        }
        [image, huge, many] => [image.clone(), huge.clone(), many.clone()],
        [] => standard_images()?,
        _ => {
            return Err(
                "usage: ami-bench [IMAGE HUGE MANY | --only transfers | --only snapshots | --only rescue]"
                    .into(),
            );
        }
    };
    let shop = Workshop::new(&image)?;
    // Fills the page cache, so that all pipelines read from memory.
    let _ = shell(&format!("cat '{}' > /dev/null", image.display()))?;

    eprintln!("The pipeline with pigz ...");
    let pigz_bundle = shop.bundle_by("pigz")?;
    eprintln!("Ours, bundling ...");
    let ours_two = best_of(3, || shop.bundle(&image, 2))?;
    let ours_one = shop.bundle(&image, 1)?;
    let ours_huge = shop.bundle(&huge, 2)?;
    let our_bundle = shop.keep_our_bundle(&image)?;
    eprintln!("The older suite's pipeline, gzip -9, which takes minutes ...");
    let gzip_bundle = shop.bundle_by("gzip -9")?;
    let gzip_parts = shop.keep_pipelines_bundle()?;
    eprintln!("Backwards ...");
    let gzip_back = best_of(2, || shop.unbundle_by_pipeline(&gzip_parts))?;
    let ours_back = best_of(3, || shop.unbundle(&our_bundle))?;
    let ours_back_of_gzip = best_of(3, || shop.unbundle(&gzip_parts))?;
    let ours_back_huge = {
        let bundle = shop.keep_our_bundle(&huge)?;
        shop.unbundle(&bundle)?
    };

    drop(shop);
    eprintln!("Volumes ...");
    let megabytes = fs::metadata(&image)?.len() >> 20;
    let volume = Volume::new(&image)?;
    let older_copy = best_of(2, || volume.older_steps(megabytes))?;
    let our_copy = best_of(3, || volume.copy(megabytes))?;
    let our_volume = best_of(3, || volume.bundle(megabytes))?;
    drop(volume);
    let our_many = Volume::new(&many)?.copy(fs::metadata(&many)?.len() >> 20)?;

    let transfers = Transfers::measure(&cache()?)?;
    let snapshots = Snapshots::measure(&cache()?)?;
    let _ = standard_images()?;
    let rescue = Rescue::measure(&cache()?)?;

    let report = Report {
        data: Data::of(&image)?,
        gzip_bundle,
        pigz_bundle,
        ours_one,
        ours_two,
        ours_huge,
        gzip_back,
        ours_back,
        ours_back_of_gzip,
        ours_back_huge,
        older_copy,
        our_copy,
        our_volume,
        our_many,
        transfers,
        snapshots,
        rescue,
        our_size: our_bundle.size,
        gzip_size: gzip_parts.size,
    };
    print!("{}", report.table());
    let docs = Path::new("docs");
    if docs.is_dir() && arguments.is_empty() {
        let page = docs.join("benchmarks.md");
        // Keeps what `make soak` and `make faults` wrote, which is at the end.
        let old = fs::read_to_string(&page).unwrap_or_default();
        let headings = ["\n## Soak\n", "\n## Faults\n"];
        let others = headings.iter().filter_map(|heading| old.find(heading));
        let others = others.min().map_or("", |begin| &old[begin..]);
        fs::write(&page, report.page()? + others)?;
        fs::write(docs.join("benchmarks.svg"), plot::svg(&report.bars()))?;
        println!("\nWritten to docs/benchmarks.md and docs/benchmarks.svg.");
    }
    Ok(())
}

fn cache() -> Result<PathBuf> {
    Ok(match std::env::var_os("AMI_BENCH_CACHE") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").ok_or("HOME is not set")?)
            .join(".cache/ami-tools/bench"),
    })
}

fn standard_images() -> Result<[PathBuf; 3]> {
    let folder = cache()?;
    let _ = shell(&format!("scripts/bench-image '{}'", folder.display()))?;
    Ok(["disk.img", "huge.img", "many.img"].map(|name| folder.join(name)))
}
