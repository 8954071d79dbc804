# Texts of the page: system.

span-15m = 15 minutes
span-6h = 6 hours
span-7d = 7 days
spans = Time shown
chart-tokens = Tokens per second
chart-queue = Questions
chart-ttft = Time to first token
chart-frames = Frames decoded per second
chart-memory = Memory
chart-disk = Disk
chart-gpu = GPU
chart-temperature = GPU temperature
chart-empty = No data yet
chart-numbers = Numbers
chart-now = now
chart-ago = { $time } ago
chart-when = When
series-tokens-per-s = Tokens per second
series-requests-running = Running
series-requests-waiting = Waiting
series-ttft-median-s = Median
series-ttft-p95-s = P95
series-frames-decoded-per-s = Frames per second
series-memory-used-bytes = In use
series-resident-bytes = Homereel
series-gpu-utilization-percent = Utilization
series-gpu-temperature-celsius = Temperature
series-disk-used-bytes = In use
time-spent = { $count ->
    [one] Where the time went in the last answer
   *[other] Where the time went in the last { $count } answers
}
stage-mean-queue = Waiting
stage-mean-decode = Decoding
stage-mean-vision = Looking
stage-mean-prefill = Reading the prompt
stage-mean-generate = Answering
stage-mean-other = Other
jobs-waiting-failed = { $waiting } waiting, { $failed } failed
jobs-now = Now
jobs-idle = Nothing is being analysed.
jobs-show = Show jobs
system-as-of = As of
system-for-programs = For programs:
system-json = JSON
system-prometheus = Prometheus
system-api = API
system-details = Details
