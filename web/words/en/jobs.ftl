# Texts of the page of jobs.

jobs-about = Each new video is described once. Jobs continue after a restart.
jobs-none = No jobs yet
jobs-none-how = A job appears here when you add a video.
jobs-counts = { $running } running, { $waiting } waiting, { $failed } failed
jobs-paused = Analysing is paused. Thumbnails are still made, and questions answered.
jobs-resume = Resume
jobs-pause = Pause
jobs-retry-failed = Retry all failed
jobs-others = { $count ->
    [one] Describe 1 video again that another model described
   *[other] Describe { $count } videos again that another model described
}
jobs-retry = Try again
jobs-first = Move to top
jobs-cancel = Cancel
jobs-more = More jobs
jobs-left = { $time } of video left to analyse
jobs-left-rate = { $time } of video left to analyse, { $rate } hours of video per hour, done in about { $done }
jobs-process = Analyse the video
jobs-transcribe = Transcribe the sound
jobs-attempt = { $what } (attempt { $attempt })
jobs-next = Next
jobs-ahead = { $count ->
    [one] 1 job ahead
   *[other] { $count } jobs ahead
}
jobs-took = { $time } since it was added
jobs-took-again = { $time } since it was queued
job-retrying = Will be retried
job-awaits-speech = Waiting for the transcript
job-waiting = Waiting
job-running = Running
job-done = Done
job-failed = Failed
job-cancelled = Cancelled
step-probe = Reading the file
step-poster = Making the poster
step-sprites = Making preview pictures
step-playback = Making a version for browsers
step-describe = Describing
step-moments = Finding moments
step-tags = Choosing tags
step-transcribe = Listening
step-listening = Listening… { $done } of { $total }
step-part = Watching part { $part } of { $total }
step-of = { $step }, step { $number } of { $total }
