# Texts of the page of the login.

login-title = Sign in
login-choose-title = Choose a password
login-nothing-set = No password is set yet. On the machine that runs Homereel, this command prints a link that sets one:
login-once = This link works once. Whoever knows the password sees all videos, so choose one that only your household knows.
login-new = New password
login-length = At least { $count } characters
login-repeat = Repeat the password
login-set = Set password
login-name = Your name
login-nameless = Leave it empty to sign in with the household password.
login-password = Password
login-household-password = Household password
login = Sign in
