//! The media of a conversation without their content, which is enough to count tokens.

use homereel_engine::{ContentPart, Message, VideoBudget};
use tokio_util::sync::CancellationToken;

use super::{AnswerService, Conversation, Piece, estimate::Suggestion};
use crate::{
    ask_error::AskError,
    media::{ClipRequest, MediaReport, Outline},
};

/// The outlines of all parts, by turn.
pub(super) struct Outlines(Vec<Vec<Outline>>);

impl Outlines {
    /// Returns the messages that the conversation would be.
    pub(super) fn messages(&self, conversation: &Conversation) -> Vec<Message> {
        let message = |(turn, outlines): (&super::Turn, &Vec<Outline>)| Message {
            role: turn.role,
            content: outlines.iter().map(|outline| outline.part.clone()).collect(),
            extra: turn.extra.clone(),
        };
        conversation.turns.iter().zip(&self.0).map(message).collect()
    }

    /// Returns the videos, with their number among all media.
    pub(super) fn videos(&self) -> impl Iterator<Item = (usize, &MediaReport)> {
        let media = self.all().filter(|outline| !matches!(outline.part, ContentPart::Text(_)));
        media.enumerate().filter_map(|(at, outline)| Some((at, outline.report.as_ref()?)))
    }

    /// Returns the expected time of decoding in seconds; `None` where it is not known for a part.
    pub(super) fn decode_s(&self) -> Option<f64> {
        self.all().map(|outline| outline.decode_s).sum()
    }

    /// Returns the largest number of frames of a video that settings have an effect on.
    pub(super) fn most_frames(&self, conversation: &Conversation) -> usize {
        let pieces = conversation.turns.iter().flat_map(|turn| &turn.content);
        let sampled = pieces.zip(self.all()).filter(|(piece, _)| matches!(piece, Piece::Video(..)));
        sampled.filter_map(|(_, outline)| Some(outline.report.as_ref()?.frames)).max().unwrap_or(0)
    }

    fn all(&self) -> impl Iterator<Item = &Outline> {
        self.0.iter().flatten()
    }
}

impl AnswerService {
    /// Outlines all parts of a conversation; probes its videos, but decodes none.
    ///
    /// # Errors
    /// Of the media, with the part.
    pub(super) async fn outlines(
        &self,
        conversation: &Conversation,
        cancel: &CancellationToken,
    ) -> Result<Outlines, AskError> {
        let mut outlines = Vec::with_capacity(conversation.turns.len());
        for (turn, of) in conversation.turns.iter().enumerate() {
            let mut parts = Vec::with_capacity(of.content.len());
            for (piece, content) in of.content.iter().enumerate() {
                let outline = self.outline(content, cancel).await;
                parts.push(outline.map_err(|source| AskError::Part {
                    turn,
                    piece,
                    source: Box::new(source),
                })?);
            }
            outlines.push(parts);
        }
        Ok(Outlines(outlines))
    }

    /// Outlines the videos again with other settings. Pictures and lists of frames stay as they are: the client chose them.
    pub(super) async fn outline_again(
        &self,
        conversation: &Conversation,
        setting: Suggestion,
        outlines: &mut Outlines,
        cancel: &CancellationToken,
    ) -> Result<(), AskError> {
        let pieces = conversation.turns.iter().flat_map(|turn| &turn.content);
        for (piece, outline) in pieces.zip(outlines.0.iter_mut().flatten()) {
            let Piece::Video(source, request) = piece else { continue };
            let mut request: ClipRequest = *request;
            request.sampling.fps = None;
            request.sampling.num_frames = Some(setting.num_frames);
            if setting.cap_pixels_per_frame {
                request.budget = VideoBudget::Capped;
            }
            *outline = self.media.outline(&*self.engine, source, request, cancel).await?;
        }
        Ok(())
    }

    async fn outline(&self, piece: &Piece, cancel: &CancellationToken) -> Result<Outline, AskError> {
        let (engine, media) = (&*self.engine, &self.media);
        let known =
            |part: ContentPart, report: Option<MediaReport>| Outline { part, report, decode_s: Some(0.0) };
        Ok(match piece {
            Piece::Text(text) => known(ContentPart::Text(text.clone()), None),
            Piece::Image(source) => media.picture_outline(&self.engine, source, cancel).await?,
            Piece::Video(source, request) => media.outline(engine, source, *request, cancel).await?,
            Piece::Clip(clip) => known(ContentPart::Video(clip.clip.clone()), Some(clip.report.clone())),
            Piece::Frames(frames, fps, request) => {
                let ignored = |_, _, _| {};
                let clip = media.frame_list(engine, frames, *fps, request.budget, cancel, &ignored).await?;
                known(ContentPart::Video(clip.clip.clone()), Some(clip.report.clone()))
            }
        })
    }
}
