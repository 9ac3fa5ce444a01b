# Shows what the image was built with.
cat /srv/prices.txt
