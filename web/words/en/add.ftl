# Texts of the page that adds videos, and of its form.

add-title = Add videos
add-unfinished = Unfinished uploads
add-refused-title = Could not be added
add-dismiss = Dismiss
add-dismiss-of = Dismiss { $name }
add-terminal = From a terminal:
upload-choose = Choose videos, or drop them anywhere
upload-formats = You can add several at once. MP4, MOV, MKV, WebM, AVI and most others, up to { $limit } each.
upload = Upload
