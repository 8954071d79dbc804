# Texts of the page of questions about all videos.

ask-title = Ask all videos
ask-question = Your question
ask-example = When did we go swimming?
ask = Ask
ask-how = Answers come from the descriptions, moments and speech of all your videos, and link to the second. To have one video watched again for your question, ask on its own page.
ask-stop = Stop
ask-made-by = Written by AI from the moments below. May contain mistakes. Model:
ask-again = Ask again
ask-delete = Delete
ask-notes = Possibly related moments
ask-earlier = Earlier questions
ask-more = Older questions
ask-running = Answering…
ask-failed = Failed
ask-stopped = Stopped
