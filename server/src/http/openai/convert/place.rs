//! Where the parts of a conversation come from, so that an error about one names it.

/// Where a message of a conversation comes from, for errors.
#[derive(Debug, Clone)]
pub(in crate::http::openai) enum Place {
    /// The request: the message or item (`messages[1]`), and the name of its field with the parts.
    Request(String, &'static str),
    /// The response that the request continues.
    Earlier,
}

impl Place {
    /// Returns the name of the message or item.
    pub(in crate::http::openai) fn item(&self) -> &str {
        match self {
            Self::Request(item, _) => item,
            Self::Earlier => "previous_response_id",
        }
    }

    /// Returns the name of the field with the parts.
    pub(super) fn parts(&self) -> String {
        match self {
            Self::Request(item, field) => format!("{item}.{field}"),
            Self::Earlier => self.item().to_owned(),
        }
    }

    /// Returns the name of a part, or of a field of it.
    pub(in crate::http::openai) fn part(&self, at: usize, field: &str) -> String {
        match self {
            Self::Request(item, parts) if field.is_empty() => format!("{item}.{parts}[{at}]"),
            Self::Request(item, parts) => format!("{item}.{parts}[{at}].{field}"),
            Self::Earlier => self.item().to_owned(),
        }
    }
}

/// Where the parts of a turn come from.
#[derive(Debug, Clone)]
pub(in crate::http::openai) struct TurnPlace {
    pub(super) place: Place,
    /// Per part, the name of the field with its media.
    pub(super) fields: Vec<&'static str>,
}

impl TurnPlace {
    /// Returns the name of the field with the media of a part.
    pub(in crate::http::openai) fn part(&self, at: usize) -> String {
        self.place.part(at, self.fields.get(at).copied().unwrap_or_default())
    }
}
