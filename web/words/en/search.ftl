# Texts of the page: search.
