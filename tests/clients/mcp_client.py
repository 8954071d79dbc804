"""Uses a library by MCP: mcp_client.py SERVER VIDEO_ID WORDS PROGRAM. Prints what it was told, once by HTTP and once by the
program's stdin and stdout, as JSON."""

import asyncio
import base64
import json
import sys

from mcp import Client, StdioServerParameters

server, video, words, program = sys.argv[1:]


async def used(transport):
    async with Client(transport) as client:
        tools = await client.list_tools()
        found = (await client.call_tool("search_videos", {"query": words})).structured_content
        place = next(place for place in found["videos"][0]["places"] if place["start"] is not None)
        arguments = {"video": found["videos"][0]["id"], "second": place["start"], "width": 160}
        picture, caption = (await client.call_tool("get_frame", arguments)).content
        described = (await client.call_tool("describe_video", {"video": video})).structured_content
        moments = (await client.call_tool("list_moments", {"video": video})).structured_content
        answer = (await client.call_tool("ask_video", {"video": video, "question": "What color is the object?"})).structured_content
        all_videos = (await client.call_tool("ask_all_videos", {"question": words})).structured_content
        missing = await client.call_tool("describe_video", {"video": "0" * 32})
        return {
            "server": client.server_info.name,
            "tools": sorted(tool.name for tool in tools.tools),
            "found": found["videos"][0]["id"],
            "second": place["start"],
            "picture": [picture.mime_type, base64.b64decode(picture.data)[:2].hex(), caption.text],
            "described": described,
            "moments": len(moments["moments"]),
            "answer": answer["answer"],
            "notes": len(all_videos["notes"]),
            "missing": [missing.is_error, missing.content[0].text],
        }


async def main():
    by_http = await used(f"{server}/mcp")
    by_stdio = await used(StdioServerParameters(command=program, args=["mcp", server]))
    print(json.dumps({"http": by_http, "stdio": by_stdio}))


asyncio.run(main())
