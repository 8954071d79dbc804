# Texts of the frame that all pages share.

page-title = { $title } · Homereel
skip = Skip to the content
pages = Pages
more-pages = More pages
search-or-ask = Search or ask about all videos
search-or-ask-short = Search or ask…
demo-model = Demo model
demo-means = The demo model only knows coloured shapes. System says how to start a real one.
model-loading = Model is loading
no-model = No model
no-model-running = No model is running, so nothing can be described or answered.
videos-are-safe = Your videos are safe and can be watched.
fix-the-problem = Fix the problem and restart Homereel. This command shows what is missing:
add = Add
menu = Menu
ask-all-videos = Ask all videos
jobs = Jobs
system = System
household = Household
trash = Trash
log-out = Sign out
footer = Homereel { $version }. Videos and answers stay on this machine.
benchmarks = Benchmarks
api = API
