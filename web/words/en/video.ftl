# Texts of the page: video.
