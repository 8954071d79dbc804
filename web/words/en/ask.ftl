# Texts of the page of questions about all videos.

ask-all-title = Ask all videos
ask-all-question = Your question
ask-all-example = When did we go swimming?
ask-all-ask = Ask
ask-all-how = Answers come from the descriptions, moments and speech of all your videos, and link to the second. To have one video watched again for your question, ask on its own page.
ask-all-stop = Stop
ask-all-made-by = Written by AI from the moments below. May contain mistakes. Model:
ask-all-again = Ask again
ask-all-delete = Delete
ask-all-notes = Possibly related moments
ask-all-earlier = Earlier questions
ask-all-more = Older questions
ask-all-running = Answering…
ask-all-failed = Failed
ask-all-stopped = Stopped
