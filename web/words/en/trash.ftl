# Texts of the page: trash.
