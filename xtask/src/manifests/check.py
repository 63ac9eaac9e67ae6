"""Checks that the manifests of a fleet in segments agree with themselves: as many pods as segments, and the merge names the folder of
each."""

import re
import sys

import yaml


def compose(path):
    with open(path) as file:
        document = yaml.safe_load(file)
    commands = [service.get("command", []) for service in document["services"].values()]
    yield from agree(path, [[str(word) for word in command] for command in commands], None)


def kubernetes(path):
    with open(path) as file:
        jobs = [document for document in yaml.safe_load_all(file) if document["kind"] == "Job"]
    commands = [job["spec"]["template"]["spec"]["containers"][0]["args"] for job in jobs]
    indexed = [job["spec"] for job in jobs if job["spec"].get("completionMode") == "Indexed"]
    for spec in indexed:
        if spec["completions"] != spec["parallelism"]:
            yield f"{path}: all segments run at once: completions and parallelism differ"
    yield from agree(path, commands, indexed[0]["completions"])


def agree(path, commands, pods):
    """Every segment is started once, into a folder that the merge names, and no other."""
    value = lambda command, flag: next(
        (word.split("=", 1)[1] if "=" in word else after for word, after in zip(command, command[1:] + [""]) if re.match(flag + "(=|$)", word)),
        None,
    )
    runs = [command for command in commands if value(command, "--segment")]
    merges = [command for command in commands if command[:1] == ["merge"]]
    started, folders = [], []
    for run in runs:
        number, of = value(run, "--segment").split("/")
        out = value(run, "--out")
        for index in range(pods) if number == "job" else [int(number) - 1]:
            started.append((index, int(of)))
            folders.append(out.replace("$(JOB_COMPLETION_INDEX)", str(index)))
    count = len(started)
    if sorted(started) != [(index, count) for index in range(count)]:
        yield f"{path}: the segments that are started are not all of {count}: {started}"
    for merge in merges:
        named = [word for word in merge[1:] if not word.startswith("--")]
        if sorted(named) != sorted(folders):
            yield f"{path}: the merge names {named}, and the segments write {folders}"
    if count and not merges:
        yield f"{path}: no step merges the segments"


if __name__ == "__main__":
    compose_path, *kubernetes_paths = sys.argv[1:]
    wrong = list(compose(compose_path))
    for path in kubernetes_paths:
        wrong += kubernetes(path)
    print("\n".join(wrong) or "the manifests agree with themselves")
    sys.exit(bool(wrong))
