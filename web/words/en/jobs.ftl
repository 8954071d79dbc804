# Texts of the page: jobs.
