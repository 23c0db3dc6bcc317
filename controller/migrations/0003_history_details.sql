-- What else is known of a line of history, as JSON; null in lines older than this column.
ALTER TABLE history ADD COLUMN details TEXT;
