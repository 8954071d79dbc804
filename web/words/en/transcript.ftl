# Texts of the page: transcript.
