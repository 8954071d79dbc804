# Texts of the page: ask.
