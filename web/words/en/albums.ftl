# Texts of the pages: albums, one album or tag, and the arrangement of an album.

albums-all = All albums
albums-empty = No albums yet
albums-empty-create = Create one here, or select videos in your library and add them to a new album.
albums-more = More albums
album-new = New album
album-name = Name
album-create = Create album
found-by-homereel = Found by Homereel
tags-more = More tags

album-play = Play all
album-actions = Album options
album-download = Download all
album-search = Search in this album
album-arrange = Arrange, choose the cover, remove videos
album-rename = Rename
album-delete = Delete album
album-delete-sure = Delete this album. Its videos stay in your library.
album-empty = This album has no videos
album-empty-add = Select videos in your library and choose "Add to album".
album-empty-choose = Choose videos
album-not-found = This album doesn't exist or was deleted
page-back = ← Earlier
page-on = Later →

arrange-back = Back to the album
arrange-by-hand = You arranged this album.
arrange-by-date = Ordered by date taken. Move a video to arrange the album yourself.
arrange-order-by-date = Order by date taken
arrange-earlier = Move earlier
arrange-later = Move later
arrange-cover = Use as cover
arrange-is-cover = Cover
arrange-remove = Remove from album
