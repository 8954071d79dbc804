# Texts of the page: household.
