"""What schemathesis takes for wrong, and is not; and what it can't make up."""

import schemathesis
from schemathesis import GenerationMode

# A query has it where its coverage phase tries a parameter that nobody knows.
UNKNOWN = "x-schemathesis-unknown-property"

# Parameters that say the same, or contradict each other: the first one counts.
TWINS = (
    ("status", "completed", "is_completed"),
    ("tag", "tags"),
    ("search", "q"),
    ("sort", "sort_by"),
    ("order", "sort_order"),
    ("offset", "skip"),
)


def is_negative(case):
    return case.meta is not None and case.meta.generation.mode == GenerationMode.NEGATIVE


def about(case):
    """The parameter that a case of the coverage phase is about."""
    return getattr(case.meta.phase.data, "parameter", None) if case.meta is not None else None


def is_tolerated(body):
    """Whether a body says in other words what the document has one for: tags as "a,b", and "" for nothing."""
    if not isinstance(body, dict):
        return False
    empty = any(isinstance(body.get(name), str) and not body[name].strip() for name in ("priority", "due_date"))
    return empty or isinstance(body.get("tags"), str)


@schemathesis.hook
def filter_case(context, case):
    """Leaves out what is taken on purpose."""
    if not is_negative(case):
        return True
    query = case.query or {}
    # A form that was not filled in sends parameters without a value: they count as not there. JSON Schema can't say so without
    # naming the empty word among the others, which every generated client would then offer.
    without_value = any(value in ("", [""]) for value in query.values())
    # Unknown parameters are ignored, and the user is set by schemathesis.toml.
    known = UNKNOWN not in query and about(case) != "user_id"
    return known and not without_value and not is_tolerated(case.body)


@schemathesis.hook
def map_case(context, case):
    """Makes valid what JSON Schema can't tell to be."""
    # Where the coverage phase is about something else, it sends `0` for an entity tag: conditions that hold, instead.
    for name, holds in (("If-Match", "*"), ("If-None-Match", '"0"')):
        if about(case) != name and (case.headers or {}).get(name) == "0":
            case.headers[name] = holds
    if case.query and not is_negative(case):
        # Only a page that goes on has a cursor; walk.ts follows it.
        if about(case) != "cursor":
            case.query.pop("cursor", None)
        for twins in TWINS:
            there = [name for name in twins if name in case.query]
            first = about(case) if about(case) in there else next(iter(there), None)
            for name in there:
                if name != first:
                    del case.query[name]
    return case
