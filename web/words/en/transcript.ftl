# Texts of what is said in a video.

said-title = What is said
said-find = Find in what is said
find = Find
correct-line = Correct the line at { $at }
all-lines = Show all lines
earlier-lines = Earlier lines
later-lines = Later lines
follow-video = Follow the video
transcribed-by-ai = Transcribed by AI ({ $model }). May contain mistakes.
plain-text = Text
transcript-soon = Will be transcribed soon.
transcript-none = Not transcribed yet.
transcript-not-found = No line has these words.
transcript-listening = Listening… { $at } of { $length }
transcript-up-to = Transcribed up to { $at } of { $length }.
transcript-failed = The transcription stopped at { $at }: { $reason }
transcript-failed-unknown = The transcription stopped at { $at }.
transcript-silent = Nothing is said in this video.
