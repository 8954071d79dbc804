//! The engine on candle: one thread that owns the weights and serves requests in turn. Knows no HTTP.
