"""What is typed → what the language model reads: literal pairs, in Chinese, in English, and both at once."""

import pytest

from stream_server.models.glm_tts.text import written
from stream_server.text.plain import PlainReader


def read_out(text: str) -> str:
    reader = PlainReader()
    return written(reader.push(text) + reader.flush())


CHINESE = [
    # Numbers.
    ("一共3个，2个大的。", "一共三个，两个大的。"),
    ("第2个和第12个", "第二个和第十二个。"),
    ("有10个，110个，105个，1020个", "有十个，一百一十个，一百零五个，一千零二十个。"),
    ("2000人，20000人，22000人", "两千人，两万人，两万二千人。"),
    ("100050和10000001", "十万零五十和一千万零一。"),
    ("人口1,234,567人", "人口一百二十三万四千五百六十七人。"),
    ("大约3.5万元", "大约三点五万元。"),
    ("圆周率是3.14159", "圆周率是三点一四一五九。"),
    ("只有.5度", "只有零点五度。"),
    ("编号007", "编号零零七。"),
    ("共12345678901234567890个", "共一二三四五六七八九零一二三四五六七八九零个。"),
    ("今天有３个，共１２％", "今天有三个，共百分之十二。"),
    ("二〇二六年", "二零二六年。"),
    ("①和½", "一和二分之一。"),
    # Per cent, fractions, ranges, signs.
    ("涨幅3.14%，湿度45％", "涨幅百分之三点一四，湿度百分之四十五。"),
    ("占30%-50%", "占百分之三十到百分之五十。"),
    ("占3-5%", "占百分之三到五。"),
    ("浓度5‰", "浓度千分之五。"),
    ("完成了3/4", "完成了四分之三。"),
    ("范围3~5天，3-5天", "范围三到五天，三到五天。"),
    ("从3km-5km", "从三公里到五公里。"),
    ("气温-3℃到5℃", "气温负三摄氏度到五摄氏度。"),
    ("今天-3度", "今天负三度。"),
    ("温度（-3）", "温度负三。"),
    ("10-3=7", "ten to three equals seven."),  # nothing says that this is Chinese
    ("今天14:30 -3℃", "今天十四点三十分负三摄氏度。"),
    ("答案是10-3=7", "答案是十减三等于七。"),
    ("2×3=6，1+1=2", "二乘三等于六，一加一等于二。"),
    ("少吃盐（<5g/天），x>5且y<=3", "少吃盐小于五克每天，x大于五且y小于等于三。"),
    ("从-10℃升到+5℃，a+5", "从负十摄氏度升到正五摄氏度，a加五。"),
    ("甲->5", "甲五。"),
    ("No.1和№5", "第一和第五。"),
    ("E=mc²是公式", "e等于mc平方是公式。"),
    ("3*10^8米每秒", "三乘十的八次方米每秒。"),
    ("面积是5m²，分辨率1920x1080", "面积是五平方米，分辨率一千九百二十乘一千零八十。"),
    ("α粒子和β射线", "阿尔法粒子和贝塔射线。"),
    # Dates and times.
    ("今天是2026年11月23日", "今天是二零二六年十一月二十三日。"),
    ("日期2026-11-23，2026/1/5，2026.1.5", "日期二零二六年十一月二十三日，二零二六年一月五日，二零二六年一月五日。"),
    ("12/25/2026和25/12/2026", "二零二六年十二月二十五日和二零二六年十二月二十五日。"),
    ("2024春晚，90年代，公元前221年", "二零二四春晚，九十年代，公元前二百二十一年。"),
    ("2026-11的账单", "二零二六年十一月的账单。"),
    ("1999-2003年", "一九九九到二零零三年。"),
    ("用了3年", "用了三年。"),
    ("会议2:30开始，14:05结束", "会议两点三十分开始，十四点零五分结束。"),
    ("9:00到17:00，10:30:05", "九点到十七点，十点三十分零五秒。"),
    ("14：30见", "十四点三十分见。"),
    ("明天3pm见", "明天下午三点见。"),
    ("比分3:2", "比分三比二。"),
    # Money and measures.
    ("票价¥320，￥3.50", "票价三百二十元，三点五元。"),
    ("一共320元", "一共三百二十元。"),
    ("价格是$2.5亿，2元", "价格是二点五亿美元，两元。"),
    ("5元/斤，￥5000/月", "五元每斤，五千元每月。"),
    ("¥1,299.00起，50元-100元", "一千二百九十九元起，五十元到一百元。"),
    ("9.8m/s²，3mm×5mm", "九点八米每二次方秒，三毫米乘五毫米。"),
    ("时速60km/h，重5 kg", "时速六十公里每小时，重五公斤。"),
    ("延迟约120ms，2GB内存", "延迟约一百二十毫秒，两吉字节内存。"),
    ("5G和4K", "五g和四k。"),
    # Digit by digit.
    ("请拨打010-12345678", "请拨打零幺零幺二三四五六七八。"),
    ("手机13800138000", "手机幺三八零零幺三八零零零。"),
    ("手机138 0013 8000，谢谢", "手机幺三八零零幺三八零零零，谢谢。"),
    ("电话：（010）12345678", "电话，零幺零幺二三四五六七八。"),
    ("QQ：12345678", "qq，幺二三四五六七八。"),
    ("航班CA1234，车次G101", "航班ca一二三四，车次g一百零一。"),
    ("QQ号123456789", "qq号幺二三四五六七八九。"),
    ("热线400-820-8820", "热线四零零八二零八八二零。"),
    ("验证码是123456", "验证码是幺二三四五六。"),
    ("版本2.0.1，地址192.168.0.1", "版本二点零点一，地址一百九十二点一百六十八点零点一。"),
    # Addresses.
    ("发邮件到 test@example.com 联系", "发邮件到test艾特example点com联系。"),
    ("请看https://www.example.com/a1?b=2吧", "请看example点com斜杠a一问号b等于二吧。"),
    # Marks.
    ("真的吗？！", "真的吗？"),
    ("好的，，，真的吗？？！", "好的，真的吗？"),
    ("等等……再说", "等等。再说。"),
    ("他说：“好！”", "他说，好。"),
    ("第一行\n第二行", "第一行。第二行。"),
    ("1. 第一条\n2. 第二条", "一。第一条。二。第二条。"),
    ("哈哈😀太好了🎉", "哈哈太好了。"),
    ("**重点**：`代码`，[链接](https://a.b/c)好", "重点，代码，链接好。"),
    ("# 标题\n- 一\n- 二", "标题。一。二。"),
    ("苹果/香蕉", "苹果，香蕉。"),
    ("好的~来吧", "好的。来吧。"),
    ("~~删~~掉", "删掉。"),
    ("<b>粗</b>", "粗。"),
    ("多个   空格", "多个空格。"),
    ("《深海》（上）【新】", "深海上新。"),
    # Left alone.
    ("繁體字與简体字", "繁體字與简体字。"),
    ("<|J|><|IANG3|>好", "<|J|><|IANG3|>好。"),
]
ENGLISH = [
    ("I have 3 apples and 25 pears.", "i have three apples and twenty five pears."),
    ("It is 3.14, or 1,234.", "it is three point one four, or one thousand two hundred thirty four."),
    ("It was -3 degrees.", "it was minus three degrees."),
    ("30% of it, about 1/2", "thirty percent of it, about one half."),
    ("on May 5, 2026 we met", "on may fifth twenty twenty six we met."),
    ("on 2026/11/23 at 5‰", "on november twenty third twenty twenty six at five per mille."),
    ("on 2024-01-05", "on january fifth twenty twenty four."),
    ("at 10:30 a.m. we left", "at ten thirty a m we left."),
    ("Dr. Smith paid $3.50, didn't he?", "doctor smith paid three dollars and fifty cents, didn't he?"),
    ("It costs $5 million.", "it costs five million dollars."),
    ("a 5 km run at 60 km/h", "a five kilometers run at sixty kilometers per hour."),
    ("3-5 days", "three to five days."),
    ("Call 555-123-4567 now", "call five five five one two three four five six seven now."),
    ("Call 010-12345678 now", "call zero one zero one two three four five six seven eight now."),
    ("mail test@example.com now", "mail test at example dot com now."),
    ("see https://www.example.com/a", "see example dot com slash a."),
    ("Don't worry! We're there—just wait…", "don't worry. we're there just wait."),
    ("state-of-the-art Wi-Fi", "state of the art wi fi."),
    ("**Bold** and `code` 😀 here", "bold and code here."),
    ("NASA and the CEO", "nasa and the ceo."),
    ("Henry VIII and Python 3.11", "henry the eighth and python three point eleven."),
    ("MP3 and GPT-4 are short", "mp three and gpt four are short."),
    ("Is it so?! Yes.", "is it so? yes."),
    ("e.g. this", "for example this."),
    ("one\ntwo", "one. two."),
    ("1. Wash\n2. Dry", "one, wash. two, dry."),
    ("café", "café."),
]
MIXED = [
    ("我有3 apples", "我有三apples。"),
    ("I have 3个苹果", "i have三个苹果。"),
    ("买了iPhone 15很好", "买了iphone十五很好。"),
    ("买了iPhone 15 很好", "买了iphone十五很好。"),
    ("They sold 15 phones。他们卖了15部", "they sold fifteen phones。他们卖了十五部。"),
    ("GLM-TTS 的 RTF 是 0.5，延迟约 120ms。", "glm tts的rtf是零点五，延迟约一百二十毫秒。"),
    ("用GPT-4写，听MP3", "用gpt四写，听mp三。"),
    ("3, 你好", "三，你好。"),
    ("1万亿", "一万亿。"),
    ("30℃，-5°C", "三十摄氏度，负五摄氏度。"),
    ("it is 30℃ now", "it is thirty degrees celsius now."),
    ("15 minutes后见", "fifteen minutes后见。"),
    ("明天9:30 meeting，room 307", "明天九点三十分meeting，room three hundred seven。"),
    ("在U.S.的人，e.g. 他", "在u s的人，for example他。"),
    ("我见到Dr. Smith了", "我见到doctor smith了。"),
]


@pytest.mark.parametrize(("typed", "read"), CHINESE + ENGLISH + MIXED, ids=lambda text: text[:24])
def test_what_is_read(typed: str, read: str) -> None:
    assert read_out(typed) == read


@pytest.mark.parametrize("typed", ["", " ", "。。。", "！？", "😀", "**", "- - -", "\n\n", "~~", "<br>"])
def test_marks_alone_are_nothing(typed: str) -> None:
    assert read_out(typed) == ""
