# Texts of the page: docs.
