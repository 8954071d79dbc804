# Texts of the page: library, and of lists of videos.

library-title = Videos
library-empty = No videos yet
library-empty-add = Choose some above, or drop them on this page. Homereel describes each video and lists its moments. Then you can ask about it.
library-empty-viewer = Videos that others in your household add will appear here.
library-terminal = From a terminal:
library-none = No videos match these filters
library-show-all = Show all videos
list-count-more = More than { $count } videos
moved-to-trash = “{ $name }” was moved to the trash.
undo-delete = Undo
show-trash = Show the trash
show-album = Show the album
show-jobs = Show the jobs

on-this-day = { $count ->
    [one] On this day: 1 video
   *[other] On this day: { $count } videos
}
years = Years
unknown-date = Unknown date
pages-of-list = Pages of this list
newer = ← Newer
older = Older →

filter = Sort and filter
filter-apply = Apply
filter-clear = Clear filters
filter-favourites = Favourites only
filter-favourites-chosen = Favourites
filter-remove = Remove the filter:
filter-undated = Unknown date only
filter-place = Place
filter-any-place = Any place
filter-camera = Camera
filter-any-camera = Any camera
filter-length = Length
filter-any-length = Any length
length-minute = Up to 1 minute
length-ten-minutes = 1 to 10 minutes
length-hour = 10 minutes to 1 hour
length-longer = Longer than 1 hour
sort = Sort by
sort-taken = Date taken
sort-added = Recently added

is-favourite = Favourite
choose-video = Select { $name }
date-added = added
date-guessed = estimated

select = Select
select-end = Done
batch = Selected videos
batch-album = Add to album
batch-album-choose = Album
batch-album-add = Add
batch-album-new = New album
batch-album-create = Create and add
batch-remove = Remove from album
batch-favourite = Add to favourites
batch-unfavourite = Remove from favourites
batch-download = Download
batch-reread = Describe again
batch-trash = Move to trash
batch-more = More
batch-clear = Clear

done-added = { $count ->
    [one] Added 1 video to the album.
   *[other] Added { $count } videos to the album.
}
done-removed = { $count ->
    [one] Removed 1 video from the album.
   *[other] Removed { $count } videos from the album.
}
done-favourite = { $count ->
    [one] Added 1 video to your favourites.
   *[other] Added { $count } videos to your favourites.
}
done-unfavourite = { $count ->
    [one] Removed 1 video from your favourites.
   *[other] Removed { $count } videos from your favourites.
}
done-trash = { $count ->
    [one] Moved 1 video to the trash.
   *[other] Moved { $count } videos to the trash.
}
done-restore = { $count ->
    [one] Restored 1 video.
   *[other] Restored { $count } videos.
}
done-reread = { $count ->
    [one] 1 video will be described again.
   *[other] { $count } videos will be described again.
}
done-none = Select some videos first.
