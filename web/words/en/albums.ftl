# Texts of the page: albums.
