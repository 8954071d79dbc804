# Texts of pages of errors.

error-not-found = Not found
error-not-now = Not now
error-refused = That didn't work
error-internal = Something went wrong
error-missing = This page or video doesn't exist, or was deleted.
error-role = Only { $needed } can do this. You're signed in as { $own }.
error-viewer = viewers
error-member = members
error-admin = admins
error-own-viewer = a viewer
error-own-member = a member
error-own-admin = an admin
error-all-videos = All videos
error-some-refused = Some files could not be added
error-others-added = The other files were added.
