# Texts of the page: trash.

trash-about = Videos are kept here for 30 days, then deleted for good. Adding the same file again restores it.
trash-empty = The trash is empty
trash-until = kept until
trash-restore = Restore
trash-restore-all = Restore all
trash-restore-selected = Restore selected
trash-delete = Delete for good
trash-delete-ask = Delete “{ $name }” for good? This can't be undone.
trash-keep = Keep it
trash-more = More
trash-sure = Delete everything in the trash for good ({ $size })
trash-empty-it = Empty the trash
