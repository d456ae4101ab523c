"""What is spoken in the benchmarks, always the same: twenty sentences of twelve words, ten texts of about forty."""

SENTENCES = (
    "The old lighthouse keeper climbed the stairs slowly and lit the lamp.",
    "My sister keeps three brown hens behind the house near the river.",
    "We missed the early train because nobody had set the alarm clock.",
    "Please leave the heavy boxes in the hall until the driver arrives.",
    "A cold wind blew from the hills and shook the kitchen windows.",
    "She answered every question calmly, then asked a better one in return.",
    "The museum opens at ten, but the garden is open all night.",
    "Put the kettle on while I look for the missing blue cup.",
    "Our neighbour plays the cello softly whenever the evening turns to rain.",
    "Most of the passengers slept through the storm and woke in harbour.",
    "He wrote a short letter, folded it twice, and never sent it.",
    "Could you tell me which of these roads leads to the station?",
    "The bakery on the corner sells warm bread from six every morning.",
    "After dinner they walked along the shore and talked about the future.",
    "Nobody noticed the small mistake until the report had already been printed.",
    "Two children were building a tall castle out of sand and shells.",
    "The doctor said that rest and fresh air would do him good.",
    "It snowed all week, so the village school stayed closed until Monday.",
    "Your order has been packed and should reach you by Thursday afternoon.",
    "Every spring the swallows return to the same barn beside our field.",
)

TEXTS = (
    "I had not planned to stay for long, but the village held me. The streets were narrow, the people were kind, "
    "and every morning the bells rang across the water while the fishermen sorted what the night had given them.",
    "Before you start, wash the rice until the water is clear. Then let it rest for twenty minutes, bring it slowly "
    "to the boil, and leave the lid alone. Most mistakes in a kitchen are made by people who cannot wait.",
    "Thank you for calling about your account. I can see that the payment arrived on Tuesday, so nothing is "
    "overdue. If you would like a written confirmation, I will send one to your address today, and you should have "
    "it by Friday.",
    "The first thing to know about this river is that it never keeps its bed for long. Each spring it moves a "
    "little further east, takes a field or a fence along, and leaves a strip of gravel where the children play.",
    "Yes, that works, although there is a simpler way. Open the settings, choose the second page, and switch the "
    "option off. After that the program will remember your choice, and you will not be asked again when you come "
    "back tomorrow.",
    "Long before there were clocks, people measured time by candles, by falling water, and by the length of a "
    "shadow. None of these was exact, but nobody minded much, because nobody else had anything better to compare "
    "them with in those days.",
    "Good morning, and welcome aboard. We expect a calm crossing with light winds from the west. Breakfast is "
    "served on the upper deck until ten, and the shop opens as soon as we have left the harbour. Please keep your "
    "tickets ready.",
    "Is it worth repairing an old bicycle? Usually it is. The frame outlives everything else, and the parts that "
    "wear out are cheap. With a few good tools, an afternoon of patience, and some oil, it may carry you another "
    "ten years.",
    "My grandmother told stories as other people knit. She would begin in the middle, drop a thread, pick up three "
    "more, and just when we were certain that she had lost her way, all of it came together in one warm and "
    "finished piece.",
    "The experiment was simple enough. Two groups of students read the same page, one in silence and one aloud. A "
    "week later they were asked what they remembered, and the difference between the groups was larger than anyone "
    "in the laboratory had expected.",
)
