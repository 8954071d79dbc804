# Texts that several pages show.

count-videos = { $count ->
    [one] 1 video
   *[other] { $count } videos
}
videos = Videos
albums = Albums
search = Search
state-ready = Ready
state-working = Analysing…
state-unreadable = This file is damaged or not a supported video
state-failed = Analysis failed
state-cancelled = Analysis cancelled
copy = Copy
