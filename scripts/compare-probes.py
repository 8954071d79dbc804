#!/usr/bin/env python3
"""Compares what Homereel's probe says of videos with what ffprobe and exiftool say.

    python3 scripts/compare-probes.py [--binary target/release/homereel] DIRECTORY...

Prints a table in Markdown: for each property how many files agree, then each difference with its reason. A difference that no
rule explains ends with "not explained", and the exit status is 1. Takes ffmpeg and exiftool (Debian: libimage-exiftool-perl).
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

# Seconds within which durations agree.
NEAR = 0.06


def output_of(*command):
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    return done.stdout if done.returncode == 0 else None


def by_ffprobe(path):
    text = output_of("ffprobe", "-v", "error", "-count_packets", "-show_streams", "-show_format", "-of", "json", path)
    return json.loads(text) if text else None


def by_exiftool(path):
    text = output_of("exiftool", "-json", "-n", "-G1", "-api", "QuickTimeUTC=0", path)
    return json.loads(text)[0] if text else {}


def by_homereel(binary, path):
    text = output_of(binary, "probe", "--json", path)
    return json.loads(text) if text else None


def refusal(binary, path):
    said = subprocess.run([binary, "probe", path], capture_output=True, text=True).stderr.strip()
    return said.removeprefix("error: ").removeprefix(f"{path}: ")


def number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


class Comparison:
    """Counts agreements and collects differences of one property."""

    def __init__(self, name):
        self.name, self.same, self.differences = name, 0, []

    def add(self, file, ours, others, agrees, reason):
        """`others` is {program: value}; `reason` is called where one of them does not agree."""
        others = {program: value for program, value in others.items() if value is not None}
        if not others or all(agrees(ours, value) for value in others.values()):
            self.same += 1
            return
        said = "; ".join(f"{program}: {value}" for program, value in others.items() if not agrees(ours, value))
        self.differences.append((file, ours, said, reason() or "not explained"))


def reason_of_duration(ours, stream, container, exif):
    text = " ".join(ours["warnings"])
    if ours["container"] == "motion photo":
        return "ffprobe reads the photo, we the film in it"
    if "recordings" in text:
        return "recordings joined in one file; the others read one clock through all of them"
    if "header says" in text or "damaged or cut off" in text or "reading stopped" in text:
        return "the header announces more than the file holds"
    if ours["start_offset_s"] > NEAR:
        return f"the first picture is at {ours['start_offset_s']:.3f} s, where our time begins"
    if number(stream.get("duration")) and abs(number(stream["duration"]) - ours["duration_s"]) <= NEAR:
        return "the others count all streams, we the pictures"
    claimed = number(container["format"].get("duration")) or 0
    if any(abs(end - claimed) <= NEAR for end in ends_of_others(container, stream)):
        return "another stream ends later than pictures and sound"
    if "header says that it lasts" in (ours.get("difference") or ""):
        return "the header's length is not what the packets say"
    if container["format"]["format_name"] == "asf":
        return "the header's length does not count all packets"
    if container["format"]["format_name"] == "avi" and number(stream.get("nb_frames")):
        counted, last = number(stream["nb_frames"]), 1 / ours["video"]["fps"]
        if counted > ours["video"]["frame_count"] and claimed > ours["duration_s"]:
            return "the header counts more frames than the file holds"
        if abs(claimed + last - ours["duration_s"]) <= NEAR:
            return "ffprobe leaves out the last picture's own duration"
    return None


def ends_of_others(container, stream):
    """Ends in seconds of the streams beside `stream`, as far as they are known."""
    for other in container["streams"]:
        tag = re.fullmatch(r"(\d+):(\d+):([\d.]+)", other.get("tags", {}).get("DURATION", ""))
        end = number(other.get("duration")) or (tag and int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]))
        if other["index"] != stream["index"] and end:
            yield end


def reason_of_frames(ours, stream, container):
    text = " ".join(ours["warnings"])
    if "begins in the middle of a recording" in text:
        return "the file begins in the middle of a group of pictures; those that cannot be decoded are left out"
    if ours["container"] == "motion photo":
        return "ffprobe reads the photo, we the film in it"
    if container["format"]["format_name"].startswith("mov") and int(stream["nb_read_packets"]) > ours["video"]["frame_count"]:
        return "an edit list hides pictures, or the time of one is wrong"
    if "hidden" in text or "edit" in text:
        return "an edit list hides pictures"
    if ours["video"]["index"] != stream["index"]:
        return "another stream is chosen"
    if "damaged" in text or "header counts" in text:
        return "packets without a picture, or hidden by an edit list"
    if stream.get("field_order") not in (None, "progressive", "unknown"):
        return "ffprobe counts fields as packets"
    if stream["codec_name"] == "vp8":
        return "references that are never shown are packets of their own"
    return None


def reason_of_rotation(ours):
    if ours["video"]["mirrored"]:
        return "mirrored as well"
    return "no multiple of 90 degrees, which is ignored" if "no multiple of 90" in " ".join(ours["warnings"]) else None


def rotation_of(stream):
    for data in stream.get("side_data_list", []):
        if "rotation" in data:
            return round(-number(data["rotation"])) % 360
    return 0


def date_of(text):
    found = re.search(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.\d+)?(Z|[+-]\d\d:?\d\d)?", str(text))
    return found and (tuple(int(n) for n in found.groups()[:6]), (found.group(7) or "").replace("Z", "+00:00"))


def exif_date(exif):
    tags = ["Keys:CreationDate", "UserData:DateTimeOriginal", "UserData:ContentCreateDate", "ItemList:ContentCreateDate", "H264:DateTimeOriginal",
            "RIFF:DateTimeOriginal", "DV:DateTimeOriginal", "Matroska:DateTimeOriginal", "QuickTime:CreateDate", "Track1:TrackCreateDate"]
    for tag in tags:
        if tag in exif and date_of(exif[tag]) and not str(exif[tag]).startswith("0000"):
            return str(exif[tag])
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/homereel", metavar="PATH", help="the program homereel")
    parser.add_argument("directories", nargs="+", metavar="DIRECTORY")
    arguments = parser.parse_args()
    names = ["duration", "frames", "rotation", "date", "place", "camera"]
    table = {name: Comparison(name) for name in names}
    refused = []
    files = sorted(path for directory in arguments.directories for path in Path(directory).rglob("*") if path.is_file())
    for path in files:
        file = path.name
        container, exif, ours = by_ffprobe(path), by_exiftool(path), by_homereel(arguments.binary, path)
        if ours is None:
            refused.append((file, refusal(arguments.binary, path), "reads it" if container and container["streams"] else "reads nothing"))
            continue
        if container is None or not any(s["codec_type"] == "video" for s in container["streams"]):
            refused.append((file, f"{ours['video']['frame_count']} frames of {ours['container']}", "reads no pictures"))
            continue
        stream = next((s for s in container["streams"] if s["index"] == ours["video"]["index"]), container["streams"][0])
        near = lambda one, other: abs(one - other) <= NEAR
        durations = {"ffprobe": number(container["format"].get("duration")), "exiftool": number(exif.get("QuickTime:Duration"))}
        table["duration"].add(file, round(ours["duration_s"], 3), durations, near, lambda: reason_of_duration(ours, stream, container, exif))
        packets = number(stream.get("nb_read_packets"))
        table["frames"].add(file, ours["video"]["frame_count"], {"ffprobe": packets and int(packets)}, lambda a, b: a == b, lambda: reason_of_frames(ours, stream, container))
        table["rotation"].add(file, ours["video"]["rotation"], {"ffprobe": rotation_of(stream)}, lambda a, b: a == b,
                              lambda: reason_of_rotation(ours))
        said = ours["creation_time"]
        tags = {**container["format"].get("tags", {}), **{}}
        dates = {"ffprobe": tags.get("com.apple.quicktime.creationdate") or tags.get("creation_time"), "exiftool": exif_date(exif)}
        agree = lambda one, other: (one is None) == (other is None) and (one is None or date_of(one)[0] == date_of(other)[0] if date_of(other) else False)
        table["date"].add(file, said, dates, agree, lambda: reason_of_date(said, dates, ours))
        place = ours["location"] and f"{ours['location']['latitude']:.3f} {ours['location']['longitude']:.3f}"
        position = exif.get("Composite:GPSPosition")
        position = position and " ".join(f"{float(value):.3f}" for value in str(position).split())
        table["place"].add(file, place, {"exiftool": position}, lambda a, b: a == b, lambda: None)
        camera = " ".join(str(exif[tag]) for tag in ("Keys:Make", "Keys:Model") if tag in exif) or None
        table["camera"].add(file, ours["camera"], {"exiftool": camera}, lambda a, b: a == b or bool(a and b and a in b or a and b and b in a), lambda: None)
    print(f"{len(files)} files, of which {len(refused)} are refused or read by one side alone.\n")
    print("| property | files that agree | differences |\n| --- | --- | --- |")
    for one in table.values():
        print(f"| {one.name} | {one.same} | {len(one.differences)} |")
    unexplained = 0
    for one in table.values():
        if one.differences:
            print(f"\n### Differences in {one.name}\n\n| file | Homereel | others | reason |\n| --- | --- | --- | --- |")
        for row in one.differences:
            unexplained += row[-1] == "not explained"
            print("| " + " | ".join(" ".join(str(cell).replace("|", "\\|").split()) for cell in row) + " |")
    print("\n### Refused, or read by one side alone\n\n| file | Homereel | ffprobe |\n| --- | --- | --- |")
    for row in refused:
        print("| " + " | ".join(" ".join(str(cell).replace("|", "\\|").split()) for cell in row) + " |")
    sys.exit(1 if unexplained else 0)


def reason_of_date(said, dates, ours):
    values = [value for value in dates.values() if value]
    if said and all(date_of(value) and date_of(value)[0][:3] == date_of(said)[0][:3] for value in values):
        return "the same time in another zone, or another tag of the same day"
    if said is None:
        return "not believed: before film, in the future, or a clock that was never set"
    if ours.get("creation_source"):
        return f"another tag comes first in our order (source: {ours['creation_source']})"
    return None


if __name__ == "__main__":
    main()
