# Texts of the page: login.
