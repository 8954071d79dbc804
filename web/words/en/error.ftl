# Texts of the page: error.
