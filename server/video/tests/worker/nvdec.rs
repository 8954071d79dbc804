//! NVDEC: where it is not available, this clip and the next are decoded in software with the same frames; where it is,
//! it decodes the requested frames.

use homereel_video::{DecodeRequest, Decoder, Plan, nvdec};
use tokio_util::sync::CancellationToken;

use crate::clips::{Clips, collect_with, numbered, probe, worker};

#[tokio::test]
async fn without_the_chip_the_processor_decodes_the_same() {
    let clips = Clips::new();
    let path = clips.draw("clip.mp4", &numbered(10, 30), "-c:v libx264");
    let clip = probe(&path).await.unwrap();
    let plan = Plan { indices: vec![0, 7, 29], times: Vec::new() };
    let request = DecodeRequest::new(&clip, &plan, 64, 64);
    let (expected, _) =
        collect_with(&worker().with_decoder(Decoder::Cpu), &path, request.clone()).await.unwrap();
    let willing = worker().with_decoder(Decoder::Nvdec);
    let there = nvdec(&willing, &CancellationToken::new()).await.unwrap();
    // The second clip goes straight to a worker without it.
    for _ in 0..2 {
        let (found, end) = collect_with(&willing, &path, request.clone()).await.unwrap();
        assert_eq!(end.chip, there.is_ok(), "{there:?}");
        assert_eq!(found.iter().map(|frame| frame.index).collect::<Vec<_>>(), plan.indices);
        assert!(there.is_ok() || found == expected);
    }
    if let Err(reason) = there {
        assert!(!reason.is_empty());
    }
}
