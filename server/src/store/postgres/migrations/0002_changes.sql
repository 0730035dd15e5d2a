-- The number of the last change; whoever commits holds this row until then, so that numbers become visible in order.
CREATE TABLE change_counter (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    seq BIGINT NOT NULL
);

INSERT INTO change_counter (one, seq) VALUES (1, 0);

CREATE TABLE changes (
    seq BIGINT NOT NULL PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL,
    tenant TEXT COLLATE "C",
    namespace TEXT COLLATE "C",
    version BIGINT,
    token TEXT COLLATE "C"
);

-- In the transaction that makes the change: it is told when it is committed, and not otherwise.
CREATE FUNCTION leverframe_tell_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('leverframe_changes', '');
    RETURN NULL;
END
$$;

CREATE TRIGGER change_told AFTER UPDATE ON change_counter
    FOR EACH ROW EXECUTE FUNCTION leverframe_tell_change();
